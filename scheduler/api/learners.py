"""Routes of the learner: taking groups and reporting what became of them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.params import Depends
from fastapi.responses import StreamingResponse

from scheduler.api import learner_responses
from scheduler.api.guard import Guard
from scheduler.api.learner_requests import Applied, Attach, Checkpointed, PublishWeights
from scheduler.core.tokens import Scope
from scheduler.frames import MSGPACK, NDJSON, Sent, check_readable, encode_line, encode_parts
from scheduler.service import Service

_MOST = 10**15


def router(service: Service, guard: Guard) -> APIRouter:
    """Attach, group stream, weights, applied and checkpointed."""
    routes = APIRouter(prefix="/v1/runs", tags=["learners"], dependencies=guard.needs(Scope.READ))
    learns = guard.needs(Scope.LEARN)
    _add_reports(routes, service, learns)

    @routes.get(
        "/{run}/groups",
        summary="The group stream",
        dependencies=learns,
        response_class=StreamingResponse,
        responses={200: {"content": {MSGPACK: {}, NDJSON: {}}}},
    )
    async def groups(
        run: str,
        incarnation: Annotated[str, Query(description="The learner that is attached")],
        accept: Annotated[str, Header()] = MSGPACK,
    ) -> StreamingResponse:
        """Groups, a batch frame when all of a step were sent, heartbeats between, a final frame at the end.

        Frames are length-prefixed msgpack; with `Accept: application/x-ndjson` they are lines for people to read.
        """
        readable = NDJSON in accept
        frames = aiter(service.learner_desk.stream(run, incarnation=incarnation))
        # The first frame is awaited here, so that a refusal is still a problem document and not a broken stream.
        first = await anext(frames)
        body = _encoded(first, frames, readable=readable)
        return StreamingResponse(body, media_type=NDJSON if readable else MSGPACK)

    return routes


async def _encoded(first: Sent, frames: AsyncIterator[Sent], *, readable: bool) -> AsyncIterator[bytes]:
    def written(frame: Sent) -> tuple[bytes, ...]:
        return (encode_line(frame),) if readable else encode_parts(frame)

    for part in written(first):
        yield part
    async for frame in frames:
        for part in written(frame):
            yield part


def _add_reports(routes: APIRouter, service: Service, learns: Sequence[Depends]) -> None:
    @routes.post("/{run}/learner", summary="Attach a learner", dependencies=learns)
    async def attach(run: str, request: Attach) -> learner_responses.Attachment:
        """Groups that an earlier incarnation applied and lost are delivered again if fresh, else rolled back."""
        check_readable(request.formats)
        attached = await service.learner_desk.attach(
            run, incarnation=request.incarnation, step=request.step, trained=request.trained
        )
        return learner_responses.Attachment(**asdict(attached))

    @routes.post("/{run}/weights", status_code=202, summary="Publish initial or restored weights", dependencies=learns)
    async def publish(run: str, request: PublishWeights) -> learner_responses.Weights:
        """They become the next version and are pushed to every server."""
        record = await service.learner_desk.publish(
            run, incarnation=request.incarnation, step=request.step, path=request.path, digest=request.digest
        )
        return learner_responses.Weights.of(record)

    @routes.get("/{run}/weights", summary="List weight versions")
    async def weights(
        run: str,
        count: Annotated[int, Query(ge=1, le=1000)] = 20,
        before: Annotated[
            int | None, Query(ge=1, le=_MOST, description="Only versions older than this one: to read on from it")
        ] = None,
    ) -> learner_responses.WeightVersions:
        """Newest first, each with what was spent by then and what the learner measured in its step.

        All versions are kept: to read more than a thousand, go on with `before` the oldest one read.
        """
        found = await service.views.weights(run, count=count, before=before)
        return learner_responses.WeightVersions(weights=[learner_responses.Weights.of(record) for record in found])

    @routes.post("/{run}/applied", status_code=202, summary="Report a step", dependencies=learns)
    async def applied(run: str, request: Applied) -> learner_responses.Weights:
        """The groups of a batch are applied, and the new weights are the next version. Reporting twice is harmless."""
        record = await service.learner_desk.applied(
            run,
            incarnation=request.incarnation,
            step=request.step,
            group_ids=request.group_ids,
            refused=request.refused,
            path=request.path,
            digest=request.digest,
            stats={name: value for name, value in request.stats.items() if value is not None},
        )
        return learner_responses.Weights.of(record)

    @routes.post("/{run}/checkpointed", status_code=204, summary="Report a saved step", dependencies=learns)
    async def checkpointed(run: str, request: Checkpointed) -> None:
        """Everything applied up to that step is trained. Reporting twice is harmless."""
        await service.learner_desk.checkpointed(run, incarnation=request.incarnation, step=request.step)
