# One image for every process of Laurel; the command says which. Nothing is compiled: crc16 comes first (docs/adr/0003-crc16-shim.md),
# the rest as wheels in the exact versions of constraints.txt. Python 3.11, for which the library of the local TON network has a wheel
# (the Makefile says what later ones need).
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/laurel
COPY third_party/crc16 third_party/crc16
RUN /opt/laurel/bin/pip install --no-cache-dir ./third_party/crc16
COPY pyproject.toml constraints.txt README.md LICENSE cli.py ./
COPY catalog catalog
COPY demo demo
COPY minter minter
COPY ops ops
COPY processor processor
COPY sandbox sandbox
COPY store store
RUN /opt/laurel/bin/pip install --no-cache-dir --only-binary ':all:' -c constraints.txt '.[sandbox]'

FROM python:3.11-slim-bookworm
# The directory exists in the image so that a volume mounted there belongs to the user, too.
RUN useradd --system --uid 10001 --no-create-home laurel && install -d -o laurel /var/lib/laurel/ton
COPY --from=build /opt/laurel /opt/laurel
ENV PATH=/opt/laurel/bin:$PATH PYTHONUNBUFFERED=1
# By number: Kubernetes' runAsNonRoot does not know who a name is.
USER 10001
ENTRYPOINT ["laurel"]
CMD ["--help"]
