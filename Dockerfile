# degrade-kit in a container, at the versions of constraints.txt.
#
#   docker build --tag degrade-kit .                               faces to shards on CPUs
#   docker build --tag degrade-kit:gpu --target gpu .              and FlipNets, restorers and reports on GPUs
#
# docs/clusters.md says how to run it.

FROM python:3.11-slim-bookworm AS cpu
# What the wheel of OpenCV links to that can open windows, which a face detector brings; and wget, by which KubeRay asks
# whether Ray is well. Debian keeps one version of each.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 wget \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/degrade-kit
COPY CHANGELOG.md LICENSE README.md constraints.txt hatch_build.py pyproject.toml ./
COPY analysis analysis
COPY degrade_kit degrade_kit
COPY pipelines pipelines
COPY restore restore
# `jobs` is what the head of a Ray cluster takes jobs with.
RUN pip install --no-cache-dir --constraint constraints.txt '.[ray,jobs,align,fast,s3,gs,hf,http]'
WORKDIR /data
ENTRYPOINT ["degrade-kit"]
CMD ["--help"]

# PyTorch's wheels bring CUDA: of the machine they need its driver alone, which `docker run --gpus all` hands in.
FROM cpu AS gpu
WORKDIR /opt/degrade-kit
RUN pip install --no-cache-dir --constraint constraints.txt '.[ray,jobs,align,fast,s3,gs,hf,http,train,flipnet,restore,metrics,analysis,video]'
WORKDIR /data

# Without --target, the first one.
FROM cpu
