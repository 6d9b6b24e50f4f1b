"""The routes of the server's state: whether it lives, whether it is ready, and which releases answer."""

from fastapi import FastAPI

from serving.problems import responses
from serving.releases import LiveReleases
from watchnext.api.answers import LiveAnswer, ReadyAnswer, ReleaseAnswer, ReleasesAnswer, VariantAnswer


def add_state(app: FastAPI, releases: LiveReleases) -> None:
    """Give an app these routes."""

    @app.get("/healthz/live", responses=responses(422), tags=["state"])
    async def live() -> LiveAnswer:
        """The process answers."""
        return LiveAnswer(status="live")

    @app.get("/healthz/ready", responses=responses(422, 503), tags=["state"])
    async def ready() -> ReadyAnswer:
        """A release is loaded, so that all other routes answer."""
        return ReadyAnswer(status="ready", release=releases.live.main.manifest.name)

    @app.get("/releases", responses=responses(401, 403, 422, 429, 503), tags=["state"])
    async def all_() -> ReleasesAnswer:
        """The releases that answer, and for which share of the users."""
        now = releases.live
        total = sum(now.variants.split.values())
        return ReleasesAnswer(
            variants=[
                VariantAnswer(variant=name, release=now.parts[name].opened.manifest.name, share=weight / total)
                for name, weight in now.variants.split.items()
            ],
            shadow=now.variants.shadow,
        )

    @app.get("/releases/current", responses=responses(401, 403, 422, 429, 503), tags=["state"])
    async def current() -> ReleaseAnswer:
        """The release that answers now; of several, the first."""
        manifest = releases.live.main.manifest
        return ReleaseAnswer.model_validate(manifest.model_dump(include=set(ReleaseAnswer.model_fields)))
