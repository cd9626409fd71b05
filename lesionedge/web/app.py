"""The FastAPI application."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from lesionedge import __version__
from lesionedge import image as images
from lesionedge.errors import ImageError, MissingDecoderError
from lesionedge.web import limits, predictions
from lesionedge.web.guard import Access, Guard, refuse
from lesionedge.web.heat import heat_map
from lesionedge.web.metrics import Metrics
from lesionedge.web.pool import Pool
from lesionedge.web.refusal import Refusal, error_body
from lesionedge.web.uploads import Uploads, image_of, refuse_size, refuse_type

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.web.live import LiveView

STATIC = str(files("lesionedge.web") / "static")
DESCRIPTION = (
    "Calibrated probabilities for pictures of skin lesions, computed on this device. Pictures are "
    "held in memory only while they are answered.\n\n**" + predictions.NOTE + "**"
)
_REASONS = {
    400: "Not a picture that can be read", 401: "The token is missing or wrong",
    403: "Asked by a page of another site", 408: "Did not arrive in time",
    413: "Larger than 20 MB or 200 megapixels", 415: "Of another content type",
    421: "Called by a name that is not this server's", 422: "No picture in it, or an unfit one",
    500: "A fault of the server", 503: "Busy, or not available; Retry-After says when to try again",
}  # fmt: skip
_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object", "required": ["image"],
                "properties": {
                    "image": {
                        "type": "string", "minLength": 1,
                        "description": "A data URL, or base64 alone, of the picture file.",
                        "examples": ["data:image/jpeg;base64,…"],
                    }
                },
            }
        },
        "multipart/form-data": {
            "schema": {
                "type": "object", "required": ["image"],
                "properties": {"image": {"type": "string", "format": "binary"}},
            }
        },
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        "application/dicom": {"schema": {"type": "string", "format": "binary"}},
    },
}  # fmt: skip


class Service:
    """What the application is made of."""

    def __init__(self, classifiers: Sequence[Classifier], *, live: LiveView | None = None) -> None:
        """Put it together.

        Args:
            classifiers: One a core, of one network thread each.
            live: The device's own camera.
        """
        self.classifier = classifiers[0]
        self.pool = Pool(classifiers)
        self.live = live
        self.uploads = Uploads()
        self.metrics = Metrics(waiting=lambda: self.pool.waiting, places=self.pool.places)
        self.facts = predictions.model_facts(
            self.classifier, camera=live.description if live else None
        )
        self._huge = threading.Lock()

    async def run(self, request: Request, job: Callable[[Classifier, bytes], Any]) -> Any:
        """Receive a picture and have it answered.

        Raises:
            Refusal: It cannot be.
        """
        kind = request.headers.get("content-type", "")
        refuse_type(kind)
        refuse_size(request.headers.get("content-length"))
        self.pool.refuse_if_full()
        with self.uploads.holding() as holding:
            body = await holding.read(request)

            def work(classifier: Classifier, wait_s: float) -> Any:
                content = image_of(body, kind)
                with self._turn(content):
                    return job(classifier, content), wait_s

            return await self.pool.run(work)

    def _turn(self, content: bytes) -> AbstractContextManager[object]:
        """Let huge pictures be decoded one at a time, and too large ones not at all."""
        try:
            width, height = images.size_of(content)
        except MissingDecoderError as error:
            raise Refusal(415, str(error)) from None
        except ImageError as error:
            raise Refusal(400, str(error)) from None
        pixels = width * height
        if pixels > images.MAX_PIXELS:
            raise Refusal(413, f"{width}x{height} px; expected at most 200 megapixels")
        if min(width, height) < images.MIN_SIDE_PX:
            raise Refusal(
                422, f"{width}x{height} px; expected at least {images.MIN_SIDE_PX} px a side"
            )
        return self._huge if pixels > limits.HUGE_PIXELS else nullcontext()


def create_app(service: Service, *, access: Access | None = None) -> Guard:
    """Make the ASGI application.

    Args:
        service: What answers.
        access: Who may ask; None: everyone who calls the server by its own name.
    """
    access = access or Access()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if service.live is not None:
            service.live.start()
        yield
        if service.live is not None:
            service.live.close()
        service.pool.close()

    app = FastAPI(
        title="lesionedge", version=__version__, description=DESCRIPTION, lifespan=lifespan,
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    _add_predictions(app, service)
    _add_facts(app, service)
    _add_live(app, service)
    _add_page(app)
    _add_errors(app)
    app.openapi = lambda: _described(app, secured=access.token is not None)  # type: ignore[method-assign]
    if access.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(access.origins), allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"], expose_headers=["retry-after"],
        )  # fmt: skip
    return Guard(app, access=access, metrics=service.metrics)


def _add_predictions(app: FastAPI, service: Service) -> None:
    @app.post(
        "/predict", response_model=predictions.PredictionBody, tags=["pictures"],
        responses=_problems(400, 408, 413, 415, 422, 500, 503),
        openapi_extra={"requestBody": _BODY},
    )  # fmt: skip
    async def predict(request: Request) -> Response:
        """Answer one picture: JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF, up to 20 MB and 200 MP."""
        prediction, wait_s = await service.run(
            request, lambda classifier, content: classifier.classify(content)
        )
        found = predictions.prediction_of(service.classifier, prediction)
        found["timings_ms"] = {"wait": wait_s * 1000, **found["timings_ms"]}
        service.metrics.predicted(found["timings_ms"])
        return _json(predictions.dumps(found))

    @app.post(
        "/explain", tags=["pictures"], response_class=Response,
        responses={
            **_problems(400, 408, 413, 415, 422, 500, 503),
            200: {"description": "A PNG", "content": {"image/png": {}}},
        },
        openapi_extra={"requestBody": _BODY},
    )  # fmt: skip
    async def explain(request: Request) -> Response:
        """Draw a heat map: which parts of the picture the answer rests on."""
        drawn, _ = await service.run(request, heat_map)
        return Response(drawn, media_type="image/png", headers={"Cache-Control": "no-store"})


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/model", response_model=predictions.ModelFacts, tags=["facts"])
    async def model() -> Response:
        """Say what the model is, was trained on, can do and cannot."""
        return _json(predictions.dumps(service.facts))

    @app.get(
        "/health", response_model=predictions.Health, tags=["facts"],
        responses={
            503: {"description": "Not ready: the queue is full", "model": predictions.Health}
        },
    )  # fmt: skip
    async def health() -> Response:
        """Say whether a picture would be answered now."""
        pool = service.pool
        found = {
            "ready": not pool.full, "model": service.facts["model"],
            "queue": pool.waiting, "queue_limit": pool.places,
        }  # fmt: skip
        return _json(predictions.dumps(found), status=503 if pool.full else 200)

    @app.get(
        "/metrics", tags=["facts"], response_class=Response,
        responses={200: {"description": "Prometheus text", "content": {"text/plain": {}}}},
    )  # fmt: skip
    async def metrics() -> Response:
        """Give counts, latencies and the queue for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_live(app: FastAPI, service: Service) -> None:
    @app.get(
        "/live", response_model=predictions.LivePredictionBody, tags=["pictures"],
        responses={
            204: {"description": "Nothing new within ten seconds"}, **_problems(404, 422, 503)
        },
    )  # fmt: skip
    async def live(
        after: int = Query(0, ge=0, description="`number` of the last one seen."),
    ) -> Response:
        """Give the newest frame of the device's own camera with its answer; waits for a new one."""
        if service.live is None:
            raise Refusal(404, "the server was started without --camera")
        content = await service.live.next(after)
        return Response(status_code=204) if content is None else _json(content)


def _add_page(app: FastAPI) -> None:
    import fastapi_offline

    swagger = str(files(fastapi_offline) / "static")
    # Assets have no version in their names: browsers ask each time whether they have changed.
    fresh = {"Cache-Control": "no-cache"}

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(f"{STATIC}/index.html", headers=fresh)

    @app.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
    async def documentation() -> FileResponse:
        return FileResponse(f"{STATIC}/docs.html", headers=fresh)

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> FileResponse:
        return FileResponse(f"{STATIC}/icon.svg", media_type="image/svg+xml")

    app.mount("/assets", StaticFiles(directory=STATIC))
    app.mount("/docs/swagger", StaticFiles(directory=swagger))


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(_request: Request, refusal: Refusal) -> Response:
        return _Refused(refusal)

    @app.exception_handler(ImageError)
    async def unreadable(_request: Request, error: ImageError) -> Response:
        return _Refused(Refusal(400, str(error)))

    @app.exception_handler(HTTPException)
    async def other(_request: Request, error: HTTPException) -> Response:
        reason = Refusal(error.status_code, str(error.detail), headers=error.headers)
        return _Refused(reason)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        found = error.errors()[0]
        place = ".".join(str(part) for part in found["loc"])
        return _Refused(Refusal(422, f"{place}: {found['msg']}"))

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=408)  # nobody hears it

    @app.exception_handler(Exception)
    async def fault(_request: Request, _error: Exception) -> Response:
        return _json(error_body("a fault of the server; its log says more"), status=500)


class _Refused(Response):
    """A refusal, which is sent after the rest of the request has come."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.body, refusal.status)
        self._refusal = refusal

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        """Send it."""
        await refuse(self._refusal, scope, send)


def _json(content: bytes, *, status: int = 200) -> Response:
    return Response(
        content, status, media_type="application/json", headers={"Cache-Control": "no-store"}
    )


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"description": _REASONS.get(status, "Not found"), "model": predictions.Problem}
        for status in statuses
    }


def _described(app: FastAPI, *, secured: bool) -> dict[str, Any]:
    """Give the OpenAPI document, with what the guard may answer anywhere."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        for path in found["paths"].values():
            for operation in path.values():
                for status in (400, 401, 403, 421) if secured else (400, 403, 421):
                    described = {"description": _REASONS[status], "content": problem}
                    operation["responses"].setdefault(str(status), described)
        if secured:
            schemes = {"token": {"type": "http", "scheme": "bearer"}}
            found["components"]["securitySchemes"] = schemes
            found["security"] = [{"token": []}]
            found["paths"]["/health"]["get"]["security"] = []
        app.openapi_schema = found
    return app.openapi_schema
