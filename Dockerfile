# The command `refold` in an image, with the versions of constraints.txt and without what builds it.

FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY LICENSE README.md __init__.py constraints.txt py.typed pyproject.toml ./
COPY domain domain
COPY infrastructure infrastructure
COPY migrations migrations
COPY projections projections
COPY scripts scripts
RUN pip install --no-cache-dir --constraint constraints.txt setuptools \
    && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .
RUN python -m venv --without-pip /opt/refold \
    && pip --python /opt/refold install --no-cache-dir --constraint constraints.txt /wheels/*.whl

FROM python:3.11-slim-bookworm
RUN useradd --system --create-home refold
COPY --from=build /opt/refold /opt/refold
ENV PATH=/opt/refold/bin:$PATH
USER refold
WORKDIR /home/refold
ENTRYPOINT ["refold"]
CMD ["run"]
