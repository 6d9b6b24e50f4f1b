# The HTTP API: it answers from a release, and has neither TensorFlow nor DuckDB.

FROM python:3.11-slim AS build
ENV PIP_CACHE_DIR=/cache PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# The venv has no pip of its own: the base image's fills it, and stays behind in this stage.
RUN python -m venv --without-pip /venv
COPY requirements/build.txt requirements/serve.txt requirements/
RUN --mount=type=cache,target=/cache --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/etc/pip-ca.pem \
    pip install --no-deps --require-hashes -r requirements/build.txt && \
    pip --python /venv/bin/python install --no-deps --require-hashes -r requirements/serve.txt
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . && \
    pip --python /venv/bin/python install --no-deps --no-index /wheels/*.whl

FROM python:3.11-slim
LABEL org.opencontainers.image.title="watchnext serving" \
      org.opencontainers.image.description="Recommendations over HTTP from a watchnext release" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home --home-dir /tmp watchnext && install --directory --owner watchnext /data /fresh
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz/ready', timeout=4)"]
ENTRYPOINT ["watchnext"]
CMD ["serve", "releases", "--host", "0.0.0.0", "--port", "8000", "--keys", "keys.json", "--fresh", "/fresh/fresh.sqlite"]
