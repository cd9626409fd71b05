"""The FastAPI application."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

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
from lesionedge.drift import reference
from lesionedge.errors import ImageError, MissingDecoderError, ModelError
from lesionedge.web import limits, phone, predictions
from lesionedge.web.guard import Access, Guard, refuse
from lesionedge.web.heat import heat_map
from lesionedge.web.metrics import Metrics
from lesionedge.web.pool import Pool
from lesionedge.web.refusal import Refusal, error_body
from lesionedge.web.uploads import (
    Upload,
    Uploads,
    check,
    images_of,
    only,
    refuse_size,
    refuse_type,
)  # fmt: skip

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.web.live import LiveView

T = TypeVar("T")
STATIC = str(files("lesionedge.web") / "static")
DESCRIPTION = (
    "Calibrated probabilities for images of skin lesions, computed on this device. Images are "
    "kept in memory, and only while the server works on them.\n\n**" + predictions.NOTE + "**"
)
_REASONS = {
    400: "Not an image that can be read", 401: "The token is missing or wrong",
    403: "Requested by a page of another site", 408: "Did not arrive in time",
    413: "Larger than 20 MB or 200 megapixels", 415: "Unsupported content type",
    421: "Addressed to another host name", 422: "No image, or an unsuitable one",
    500: "An error in the server", 503: "Busy or not available; Retry-After says when to try again",
}  # fmt: skip
_ENCODED = {
    "type": "string", "minLength": 1,
    "description": "A data URL, or base64 alone, of the image file.",
    "examples": ["data:image/jpeg;base64,…"],
}  # fmt: skip
_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "image": _ENCODED,
                    "images": {
                        "type": "array", "items": _ENCODED, "minItems": 1,
                        "maxItems": limits.MAX_IMAGES,
                    },
                },
                "oneOf": [{"required": ["image"]}, {"required": ["images"]}],
            }
        },
        "multipart/form-data": {
            "schema": {
                "type": "object", "required": ["image"],
                "properties": {
                    "image": {"type": "array", "items": {"type": "string", "format": "binary"}}
                },
            }
        },
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        "application/dicom": {"schema": {"type": "string", "format": "binary"}},
    },
}  # fmt: skip


class Service:
    """The application's parts: classifiers, uploads, metrics and the camera."""

    def __init__(self, classifiers: Sequence[Classifier], *, live: LiveView | None = None) -> None:
        """Create the parts.

        Args:
            classifiers: One per core, with one network thread each.
            live: The device's own camera.
        """
        self.classifier = classifiers[0]
        self.pool = Pool(classifiers)
        self.live = live
        self.uploads = Uploads()
        self.metrics = Metrics(
            waiting=lambda: self.pool.waiting, places=self.pool.places,
            reference=reference.of(self.classifier),
        )  # fmt: skip
        self.facts = predictions.model_facts(
            self.classifier, camera=live.description if live else None
        )
        self._huge = threading.Lock()

    async def run(self, request: Request, job: Callable[[Classifier, bytes, float], T]) -> T:
        """Receive a request's images and run a job on them.

        Args:
            request: The request.
            job: Called in a thread with a classifier that no other job uses meanwhile, the
                request's body, and the seconds that the request waited.

        Raises:
            Refusal: The request cannot be served.
        """
        kind = request.headers.get("content-type", "")
        refuse_type(kind)
        refuse_size(request.headers.get("content-length"))
        self.pool.refuse_if_full()
        with self.uploads.holding() as holding:
            body = await holding.read(request)
            return await self.pool.run(lambda classifier, wait_s: job(classifier, body, wait_s))

    async def predict(self, request: Request, *, top_k: int | None) -> dict[str, Any]:
        """Return the result of a request's image, or ``results`` for several images.

        Raises:
            Refusal: The request, or its only image, cannot be served.
        """
        kind = request.headers.get("content-type", "")

        def job(classifier: Classifier, body: bytes, wait_s: float) -> dict[str, Any]:
            uploads, several = images_of(body, kind)
            if not several:
                return self._result(classifier, uploads[0], top_k, wait_s)
            return {"results": [self._entry(classifier, one, top_k, wait_s) for one in uploads]}

        return await self.run(request, job)

    async def explain(self, request: Request) -> bytes:
        """Return the heat map of a request's one image, as a PNG.

        Raises:
            Refusal: The request cannot be served.
        """
        kind = request.headers.get("content-type", "")

        def job(classifier: Classifier, body: bytes, _wait_s: float) -> bytes:
            upload = only(images_of(body, kind)[0])
            with self._turn(upload):
                return heat_map(classifier, upload.content)

        return await self.run(request, job)

    def _entry(
        self, classifier: Classifier, upload: Upload, top_k: int | None, wait_s: float
    ) -> dict[str, Any]:
        """Return one of several results; if this image fails, the others still have theirs."""
        try:
            return self._result(classifier, upload, top_k, wait_s)
        except Refusal as refusal:
            reason = refusal.reason
        except (ImageError, ModelError) as error:
            reason = str(error)
        return {"path": upload.name or "image", "error": reason}

    def _result(
        self, classifier: Classifier, upload: Upload, top_k: int | None, wait_s: float
    ) -> dict[str, Any]:
        with self._turn(upload):
            prediction = classifier.classify(upload.content, top_k=top_k)
        found = predictions.prediction_of(classifier, prediction, path=upload.name)
        found["timings_ms"] = {"wait": wait_s * 1000, **found["timings_ms"]}
        self.metrics.predicted(prediction, found["timings_ms"])
        return found

    def _turn(self, upload: Upload) -> AbstractContextManager[object]:
        """Refuse images of unsuitable size; return a lock for those decoded one at a time."""
        check(upload)
        try:
            width, height = images.size_of(upload.content)
        except MissingDecoderError as error:
            raise Refusal(415, str(error)) from None
        except ImageError as error:
            raise Refusal(400, str(error)) from None
        pixels = width * height
        if pixels > images.MAX_PIXELS:
            raise Refusal(413, f"{width}x{height} px; expected at most 200 megapixels")
        if min(width, height) < images.MIN_SIDE_PX:
            raise Refusal(
                422, f"{width}x{height} px; expected at least {images.MIN_SIDE_PX} px per side"
            )
        return self._huge if pixels > limits.HUGE_PIXELS else nullcontext()


def create_app(
    service: Service, *, access: Access | None = None, phone_app: str | None = None
) -> Guard:
    """Make the ASGI application.

    Args:
        service: The application's parts.
        access: Who may send requests; None: everyone who uses the server's own name.
        phone_app: Folder of the phone's app, as ``make app`` builds it.
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
    if phone_app is not None:
        app.mount(phone.PATH, phone.AppFiles(directory=phone_app, html=True))
    _add_errors(app)
    app.openapi = lambda: _described(app, secured=access.token is not None)  # type: ignore[method-assign]
    if access.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(access.origins), allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"], expose_headers=["retry-after"],
        )  # fmt: skip
    return Guard(app, access=access, metrics=service.metrics)


def _add_predictions(app: FastAPI, service: Service) -> None:
    faults = _problems(400, 408, 413, 415, 422, 500, 503)
    body = {"requestBody": _BODY}

    async def predict(
        request: Request,
        top_k: int | None = Query(None, ge=1, description="How many classes to list."),
    ) -> Response:
        """Classify one image, or up to 16 in a form or in JSON's `images`.

        JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF, HEIC or DICOM, up to 20 MB in all and 200 MP each.
        For one image it returns the prediction or an error. For several it returns `results`, in
        order; an image that failed has `path` and `error`.
        """
        return _json(predictions.dumps(await service.predict(request, top_k=top_k)))

    async def explain(request: Request) -> Response:
        """Draw a heat map of the parts of the image that the prediction depends on."""
        drawn = await service.explain(request)
        return Response(drawn, media_type="image/png", headers={"Cache-Control": "no-store"})

    png: dict[int | str, dict[str, Any]] = {
        200: {"description": "A PNG", "content": {"image/png": {}}}
    }
    # The paths without a version are those of the first release; they stay.
    for prefix, documented in (("/v1", True), ("", False)):
        app.add_api_route(
            f"{prefix}/predict", predict, methods=["POST"], tags=["images"], responses=faults,
            response_model=predictions.PredictionBody | predictions.ResultsBody,
            openapi_extra=body, include_in_schema=documented,
        )  # fmt: skip
        app.add_api_route(
            f"{prefix}/explain", explain, methods=["POST"], tags=["images"],
            response_class=Response, responses={**faults, **png}, openapi_extra=body,
            include_in_schema=documented,
        )  # fmt: skip


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/model", response_model=predictions.ModelFacts, tags=["facts"])
    async def model() -> Response:
        """Return the model's description: its labels, training data and limits."""
        return _json(predictions.dumps(service.facts))

    @app.get(
        "/health", response_model=predictions.Health, tags=["facts"],
        responses={
            503: {"description": "Not ready: the queue is full", "model": predictions.Health}
        },
    )  # fmt: skip
    async def health() -> Response:
        """Return whether the server can classify an image now."""
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
        """Return counts, latencies, the queue and drift for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_live(app: FastAPI, service: Service) -> None:
    @app.get(
        "/live", response_model=predictions.LivePredictionBody, tags=["images"],
        responses={
            204: {"description": "Nothing new within ten seconds"}, **_problems(404, 422, 503)
        },
    )  # fmt: skip
    async def live(
        after: int = Query(
            0, ge=0, description="`number` of the last prediction that the client has."
        ),
    ) -> Response:
        """Wait for a new frame of the device's camera; return it with its prediction."""
        if service.live is None:
            raise Refusal(404, "the server was started without --camera")
        content = await service.live.next(after)
        return Response(status_code=204) if content is None else _json(content)


def _add_page(app: FastAPI) -> None:
    import fastapi_offline

    swagger = str(files(fastapi_offline) / "static")
    # Assets have no version in their names: browsers check each time whether they have changed.
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

    @app.exception_handler(ModelError)
    async def unusable(_request: Request, error: ModelError) -> Response:
        return _Refused(Refusal(500, str(error)))

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
        return Response(status_code=408)  # the client does not receive it

    @app.exception_handler(Exception)
    async def fault(_request: Request, _error: Exception) -> Response:
        return _json(error_body("an error in the server; its log has the details"), status=500)


class _Refused(Response):
    """A refusal, which is sent after the rest of the request has arrived."""

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
    """Return the OpenAPI document, with the errors that the guard may return for any path."""
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
