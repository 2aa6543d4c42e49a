# One image for every process of Laurel; the command says which. By default without the embedded parts: 267 MB of packages (2026-11-27),
# half of what they are with them. `--target sandbox` has the local TON network as well, for the profile of docker-compose.yml.
#
# Nothing is compiled: crc16 comes first (docs/adr/0003-crc16-shim.md), the rest as wheels in the exact versions of constraints.txt.
# Python 3.11, for which the library of the local TON network has a wheel (the Makefile says what later ones need).
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
# The packages stand in an environment without pip, which is of no use to a process that runs.
RUN python -m venv --without-pip /opt/laurel
COPY third_party/crc16 third_party/crc16
RUN pip --python /opt/laurel install --no-cache-dir ./third_party/crc16
COPY pyproject.toml constraints.txt README.md LICENSE cli.py ./
COPY catalog catalog
COPY demo demo
COPY minter minter
COPY ops ops
COPY processor processor
COPY sandbox sandbox
COPY store store
RUN pip --python /opt/laurel install --no-cache-dir --only-binary ':all:' -c constraints.txt .

FROM build AS build-sandbox
RUN pip --python /opt/laurel install --no-cache-dir --only-binary ':all:' -c constraints.txt '.[sandbox]'

FROM python:3.11-slim-bookworm AS runtime
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Laurel" \
      org.opencontainers.image.description="Turns streams of quest, city and review events into earned badges, and mints them as soulbound tokens on TON." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm"
# The directories exist in the image so that volumes mounted there belong to the user, too.
RUN groupadd --system --gid 10001 laurel \
 && useradd --system --uid 10001 --gid 10001 --no-create-home laurel \
 && install -d -o laurel -g laurel /var/lib/laurel/ton /var/lib/laurel/ton-state
ENV PATH=/opt/laurel/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# By number: Kubernetes' runAsNonRoot does not know who a name is.
USER 10001:10001
ENTRYPOINT ["laurel"]
CMD ["--help"]

FROM runtime AS sandbox
COPY --from=build-sandbox /opt/laurel /opt/laurel

# The last one is what `docker build` makes.
FROM runtime AS laurel
COPY --from=build /opt/laurel /opt/laurel
