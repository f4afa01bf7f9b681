#!/usr/bin/env bash
# From a folder of faces to a table that compares a restorer's results with their inputs.
#
#   examples/restore_faces.sh [--hq DIR] [--out DIR] [--steps N] [--count N] [--workers N]
#
#   --hq       faces framed as FFHQ's (see `degrade-kit align`)   [default: two public-domain portraits, to see it work]
#   --out      folder of everything that is made                  [default: restore-output]
#   --steps    training steps of each of the three stages         [default: 20; a restorer needs thousands]
#   --count    faces of the test set                              [default: 2]
#   --workers  processes, beside training; 0 needs no Ray         [default: 0]
#
# Run it again after an interruption: what is there is kept, and training goes on from its last checkpoint. Other options
# need another --out.
# Training and test faces are the same here. For numbers that mean something, make the test set from other people.
set -euo pipefail

faces="" out=restore-output steps=20 count=2 workers=0
while (($#)); do
  if (($# < 2)); then echo "expected a value after $1" >&2; exit 2; fi
  case $1 in
    --hq) faces=$2 ;;
    --out) out=$2 ;;
    --steps) steps=$2 ;;
    --count) count=$2 ;;
    --workers) workers=$2 ;;
    *) echo "unknown option $1; see the top of $0" >&2; exit 2 ;;
  esac
  shift 2
done
configs=$(python3 -c 'from degrade_kit.pipelines.claim import CONFIGS; print(CONFIGS)')
# The small configuration restores faces of this side, in pixels; its recipe is the paper's, scaled to it.
size=64 recipe=$configs/flipnet-64.yaml

if [[ -z $faces ]]; then
  faces=$out/faces
  python3 -c 'import sys; from pathlib import Path; from degrade_kit.demo import write_demo_faces
write_demo_faces(Path(sys.argv[1]))' "$faces"
fi

# 1. LQ/HQ pairs to train on.
degrade-kit synth --hq "$faces" --shards "$out/shards" --size $size --preset "$recipe" --variants 5 --workers "$workers"
# 2. The restorer: autoencoders, their association, then FlipNet's restoration mode.
degrade-kit train-restore --shards "$out/shards" --config small --steps "$steps" --out "$out/run"
# 3. Faces to evaluate it on, with draws that training has not seen, and what it makes of them.
degrade-kit make-testset --hq "$faces" --out "$out/testset" --size $size --preset "$recipe" --count "$count" --seed 1 \
  --workers "$workers"
degrade-kit restore --model "$out/run" --input "$out/testset/lq" --out "$out/restored" --workers "$workers"
# 4. Scores of the results, and of the inputs as they were.
degrade-kit evaluate --restored "$out/restored" --reference "$out/testset/hq" --out "$out/eval/restored" --workers "$workers"
degrade-kit evaluate --restored "$out/testset/lq" --reference "$out/testset/hq" --out "$out/eval/lq" --workers "$workers"
degrade-kit compare "LQ=$out/eval/lq" "restored=$out/eval/restored" --lq "$out/testset/lq" --out "$out/table"
