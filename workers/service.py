"""JobService: protobuf in, use case, protobuf out."""

from __future__ import annotations

from collections.abc import Sequence

from waypost.api.v1 import job_service_pb2 as pb
from waypost.api.v1 import job_service_pb2_grpc as pb_grpc
from waypost.ports import Schedule
from workers.convert import job_to_proto
from workers.handlers import Job, list_jobs


class JobService(pb_grpc.JobServiceServicer):
    """Shows operators the scheduled jobs."""

    def __init__(self, jobs: Sequence[Job], schedule: Schedule) -> None:
        self._jobs = jobs
        self._schedule = schedule

    async def ListJobs(self, request: pb.ListJobsRequest, context: object) -> pb.ListJobsResponse:
        """See the contract."""
        listed = await list_jobs(self._jobs, self._schedule)
        return pb.ListJobsResponse(jobs=[job_to_proto(job, run) for job, run in listed])
