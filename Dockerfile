# The image of every service of docker-compose.yaml:  docker compose build
FROM python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3

# The wheels of CASA expect these of the system. Further imaging and flagging programs:
#   docker compose build --build-arg EXTRA_PACKAGES="wsclean aoflagger"
ARG EXTRA_PACKAGES=""
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        libgomp1 libquadmath0 libstdc++6 ${EXTRA_PACKAGES} \
    && rm -rf /var/lib/apt/lists/*

# Before the sources, so that a change of those does not install everything anew.
WORKDIR /opt/dsa110-contimg
COPY requirements.txt ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements.txt --constraint requirements.txt

COPY pyproject.toml README.md LICENSE ./
COPY dsa110_contimg ./dsa110_contimg
RUN pip install --no-cache-dir --no-deps --no-build-isolation .
COPY dags ./dags
COPY plugins ./plugins

# Any user in group 0 may run it, as AIRFLOW_UID says; nothing of the program is writable.
ENV AIRFLOW_HOME=/opt/airflow \
    HOME=/home/contimg \
    MPLBACKEND=agg \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN useradd --uid 50000 --gid 0 --create-home --home-dir /home/contimg contimg \
    && mkdir -p /opt/airflow \
    && chown 50000:0 /opt/airflow \
    && chmod -R g=u /opt/airflow /home/contimg
USER 50000:0
WORKDIR /opt/airflow
