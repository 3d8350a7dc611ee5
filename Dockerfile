# Two images. The dashboard, without torch:
#   docker build --target dashboard -t tracker .
# Benching and auto-research on an NVIDIA card, on the image of vLLM that constraints.txt pins (tens of gigabytes):
#   docker build --target gpu -t tracker-gpu .
# compose.yaml runs both. All that is kept lies in /data: the home, and the downloaded models.

FROM python:3.13-slim AS dashboard
WORKDIR /src
COPY pyproject.toml constraints.txt LICENSE ./
COPY data ./data
COPY docs/method.md ./docs/method.md
COPY tracker ./tracker
COPY runners ./runners
COPY app ./app
RUN pip install --no-cache-dir -c constraints.txt . \
    && useradd --create-home --uid 10001 tracker \
    && mkdir -p /data/home /data/hf \
    && chown -R tracker /data
ENV TRACKER_HOME=/data/home HF_HOME=/data/hf
VOLUME ["/data/home", "/data/hf"]
USER tracker
WORKDIR /data
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/health', timeout=4)"]
ENTRYPOINT ["tracker"]
# 0.0.0.0 is inside the container; publish the port to 127.0.0.1 of the host, for there is no encryption.
CMD ["app", "--host", "0.0.0.0", "--port", "8501", "--no-browser"]

FROM vllm/vllm-openai:v0.32.0 AS gpu
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap util-linux \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml constraints.txt LICENSE ./
COPY data ./data
COPY docs/method.md ./docs/method.md
COPY tracker ./tracker
COPY runners ./runners
COPY app ./app
# vLLM and torch are in the image already, in the versions of constraints.txt.
RUN python3 -m pip install --no-cache-dir -c constraints.txt '.[gpu,research]' \
    && useradd --create-home --uid 10001 tracker \
    && mkdir -p /data/home /data/hf \
    && chown -R tracker /data
ENV TRACKER_HOME=/data/home HF_HOME=/data/hf
VOLUME ["/data/home", "/data/hf"]
# The same user as in the dashboard's image, so that both may write the home.
USER tracker
WORKDIR /data
ENTRYPOINT ["tracker"]
CMD ["doctor"]
