"""What browsers are told: headers of all answers, which other origins may ask, and a page that describes the API."""

from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from watchnext.errors import UsageError

_NOTHING = "default-src 'none'; frame-ancestors 'none'"
_OWN = "script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>watchnext</title>
<link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body></html>
"""
_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true});\n'


def security_headers(docs: bool) -> list[tuple[str, str]]:
    """Headers of all answers, for `uvicorn.Config(headers=...)`.

    Args:
        docs: whether there is a page at /docs. Scripts and styles of this server may then run.
    """
    return [
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", f"{_NOTHING}; {_OWN}" if docs else _NOTHING),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ]


def with_cors(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Let pages of exactly these origins ask. This goes around all that asks for keys: preflights have none.

    Args:
        app: what answers.
        origins: as browsers send them, `https://example.org`; where there are none, `app` is returned as it is.

    Raises UsageError for what is no origin.
    """
    for origin in origins:
        check_origin(origin)
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST", "DELETE"),
        allow_headers=("Authorization", "Content-Type"),
        expose_headers=("Retry-After", "Server-Timing", "X-Request-ID"),
    )


def check_origin(origin: str) -> None:
    """Raise UsageError unless a text is an origin as browsers send it."""
    cure = "Give scheme and host as browsers send them: https://example.org, or http://localhost:3000."
    try:
        parts = urlsplit(origin)
        plain = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    except ValueError as error:
        raise UsageError("cors_origins", repr(origin), cure) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or origin != plain:
        raise UsageError("cors_origins", repr(origin), cure)


def add_docs(app: FastAPI) -> None:
    """Describe an app at /docs, from files of this machine alone; make the app with `docs_url=None, redoc_url=None`.

    Raises ModuleNotFoundError without the package fastapi-offline, of which only these files are used.
    """
    folder = Path(str(files("fastapi_offline") / "static"))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(_PAGE)

    @app.get("/docs/{name}", include_in_schema=False)
    async def docs_file(name: str) -> Response:
        if name == "start.js":
            return Response(_START, media_type="text/javascript")
        if name in _FILES:
            return FileResponse(folder / name, media_type=_FILES[name])
        return Response(status_code=404)
