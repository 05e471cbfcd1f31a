"""Values to protobuf, for JobService. Pure."""

from __future__ import annotations

from waypost.api.v1 import job_service_pb2 as pb
from waypost.model import JobRun
from workers.handlers import Job


def job_to_proto(job: Job, last_run: JobRun | None) -> pb.Job:
    """A job and its last run."""
    proto = pb.Job(name=job.name)
    proto.interval.FromTimedelta(job.interval)
    if last_run is not None:
        proto.last_run.tick.FromDatetime(last_run.tick)
        proto.last_run.started_at.FromDatetime(last_run.started_at)
        if last_run.finished_at is not None:
            proto.last_run.finished_at.FromDatetime(last_run.finished_at)
        proto.last_run.affected = last_run.affected
        proto.last_run.error = last_run.error
    return proto
