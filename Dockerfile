# One image for this project's processes and for Spark, which calls this package's code in foreachBatch.
FROM python:3.11.14-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends openjdk-17-jre-headless procps \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/shop_streams
COPY pyproject.toml constraints.txt ./
COPY shop_streams shop_streams
RUN pip install --no-cache-dir --constraint constraints.txt --editable . \
    && python -m shop_streams.local.jars \
    && python -m shop_streams.web.build && rm -rf .web

# The pyspark wheel is a whole Spark distribution.
ENV SPARK_HOME=/usr/local/lib/python3.11/site-packages/pyspark
ENV PATH=$SPARK_HOME/bin:$PATH SHOP_STREAMS_HOME=/var/lib/shop_streams DAGSTER_HOME=/var/lib/shop_streams/dagster
# Dagster stores naive times: every process and each database session is in UTC, whatever the machine's zone.
ENV TZ=UTC PGTZ=UTC
ENV SPARK_WORKER_DIR=/tmp/spark-work

# A new volume takes the owner of the folder that it covers.
RUN useradd --system --uid 10001 --create-home shop_streams \
    && install -d -o shop_streams -g shop_streams -m 0700 $SHOP_STREAMS_HOME /lake
COPY deploy/workspace.compose.yaml workspace.compose.yaml
USER shop_streams
