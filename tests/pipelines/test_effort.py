"""Where a job runs: decided once for all commands, from what there is to do."""

from __future__ import annotations

import pytest

from degrade_kit.errors import ImageError
from degrade_kit.pipelines.effort import RAY_SECONDS, Effort, describe_effort, resolve_workers, seconds_each, spread
from degrade_kit.pipelines.executor import ExecutorConfig

OPEN = ExecutorConfig()


@pytest.fixture(autouse=True)
def four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("degrade_kit.pipelines.effort.default_workers", lambda: 4)


def workers(effort: Effort, config: ExecutorConfig = OPEN) -> int | None:
    return resolve_workers(config, lambda: effort).workers


def refuse() -> Effort:
    raise AssertionError("nobody asked for an estimate")


def test_work_shorter_than_rays_start_is_done_in_this_process() -> None:
    assert workers(Effort(seconds=RAY_SECONDS, tasks=100)) == 0
    assert workers(Effort(seconds=0.0, tasks=0)) == 0


def test_work_much_longer_than_rays_start_goes_to_a_worker_per_processor() -> None:
    assert workers(Effort(seconds=100 * RAY_SECONDS, tasks=100)) == 4


def test_the_turn_is_where_workers_and_rays_start_take_as_long_as_one_process() -> None:
    # s = start + s / 4 at s = 4 / 3 start
    assert workers(Effort(seconds=1.3 * RAY_SECONDS, tasks=100)) == 0
    assert workers(Effort(seconds=1.4 * RAY_SECONDS, tasks=100)) == 4


def test_no_more_workers_than_parts_and_none_for_a_single_one() -> None:
    assert workers(Effort(seconds=1e4, tasks=3)) == 3
    assert workers(Effort(seconds=1e4, tasks=1)) == 0


def test_each_start_of_ray_counts_and_so_does_a_model_that_every_process_loads() -> None:
    assert workers(Effort(seconds=4 * RAY_SECONDS, tasks=100)) == 4
    assert workers(Effort(seconds=4 * RAY_SECONDS, tasks=100, starts=6)) == 0
    assert Effort(seconds=40, tasks=4, setup=9).wall_seconds(2) == RAY_SECONDS + 9 + 20
    assert Effort(seconds=40, tasks=4, setup=9).wall_seconds(0) == 49


@pytest.mark.parametrize("given", [0, 1, 7])
def test_a_number_of_workers_is_obeyed_and_costs_no_estimate(given: int) -> None:
    assert resolve_workers(ExecutorConfig(workers=given), refuse).workers == given


def test_a_cluster_is_left_to_itself() -> None:
    config = ExecutorConfig(ray_address="auto")
    assert resolve_workers(config, refuse) is config


def test_gpus_for_workers_ask_for_workers() -> None:
    assert resolve_workers(ExecutorConfig(gpus=0.5), refuse).workers == 4


def test_without_ray_all_work_is_done_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("degrade_kit.pipelines.effort.default_workers", lambda: 0)
    assert resolve_workers(OPEN, refuse).workers == 0


def test_a_plan_says_where_it_runs_and_has_rays_start_in_its_time() -> None:
    effort = Effort(seconds=80, tasks=8)
    assert describe_effort(resolve_workers(OPEN, lambda: effort), effort) == (
        "about 30 s on 4 Ray workers, 10 s of it Ray's start"
    )
    assert describe_effort(ExecutorConfig(workers=0), effort) == "about 80 s in this process"
    assert describe_effort(ExecutorConfig(workers=20), effort) == "about 20 s on 8 Ray workers, 10 s of it Ray's start"
    assert describe_effort(ExecutorConfig(workers=4, ray_address="ray:1"), effort) == (
        "about 20 s on 4 workers of the Ray cluster at ray:1"
    )


def test_samples_that_cannot_be_used_do_not_stop_an_estimate() -> None:
    seen: list[int] = []

    def work(sample: int) -> None:
        seen.append(sample)
        if sample == 1:
            raise ImageError("unlucky")

    assert seconds_each([0, 1, 2], work) >= 0
    assert seen == [0, 1, 2]
    assert seconds_each([], work) == 0


def test_an_estimate_takes_no_more_samples_than_it_has_time_for() -> None:
    seen: list[int] = []
    seconds_each(range(100), seen.append, most=0.0)
    assert seen == [0]


def test_samples_are_spread_over_the_job() -> None:
    assert spread(1000, 3) == [0, 499, 999]
    assert spread(3, 8) == [0, 1, 2]
