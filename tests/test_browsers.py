"""What browsers are told: headers, origins, and a page that loads nothing from elsewhere."""

import asyncio
import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from serving.guard.browsers import add_docs, security_headers, with_cors
from watchnext.errors import UsageError

ORIGIN = "https://app.example.org"


def app() -> FastAPI:
    made = FastAPI(docs_url=None, redoc_url=None)

    @made.get("/a")
    async def a() -> str:
        return "b"

    return made


def ask(app: Any, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://h") as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, path, headers=named)

    return asyncio.run(asked())


def test_headers() -> None:
    assert dict(security_headers(docs=False)) == {
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    policy = dict(security_headers(docs=True))["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "http" not in policy


def test_only_these_origins_may_ask() -> None:
    made = with_cors(app(), (ORIGIN,))
    told = ask(made, "/a", Origin=ORIGIN).headers
    assert told["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-credentials" not in told
    for other in ("https://example.org", "http://app.example.org", "null", f"{ORIGIN}.evil.org", f"{ORIGIN}:444"):
        assert "access-control-allow-origin" not in ask(made, "/a", Origin=other).headers
    asked = {"Access_Control_Request_Method": "GET", "Access_Control_Request_Headers": "authorization"}
    assert ask(made, "/a", "OPTIONS", Origin=ORIGIN, **asked).status_code == 200
    assert ask(made, "/a", "OPTIONS", Origin="https://example.org", **asked).status_code == 400


def test_by_default_none_may() -> None:
    made = app()
    assert with_cors(made, ()) is made


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "",
        "example.org",
        "https://",
        "https://a/",
        "https://A.org",
        "ftp://a",
        "https://a:b",
        "https://u@a",
    ],
)
def test_what_is_no_origin(origin: str) -> None:
    with pytest.raises(UsageError, match=r"cors_origins: .* https://example\.org"):
        with_cors(app(), (origin,))


def test_the_page_needs_no_network_and_no_inline_script() -> None:
    made = app()
    add_docs(made)
    page = ask(made, "/docs").text
    assert "//" not in page
    assert re.findall(r"<script[^>]*>[^<]", page) == []
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) == 3
    for source in sources:
        answer = ask(made, f"/{source}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] in {"text/javascript", "text/css"}
    assert "SwaggerUIBundle" in ask(made, "/docs/swagger-ui-bundle.js").text
    for path in ("/docs/favicon.png", "/docs/..%2f__init__.py", "/docs/../core.py"):
        assert ask(made, path).status_code == 404
    assert ask(made, "/openapi.json").json()["paths"].keys() == {"/a"}
