# A TorchServe image in two stages, for CUDA 12.4 and without root. Build arguments select one of two flavours:
#   official  make image       on PyTorch's own images, with Python 3.11 and their torch 2.4.0
#   slim      make image-slim  on python:3.12-slim-bookworm; torch 2.6.0 and the CUDA libraries are trimmed wheels
ARG BUILDER=pytorch/pytorch:2.4.0-cuda12.4-cudnn9-devel
ARG RUNTIME=pytorch/pytorch:2.4.0-cuda12.4-cudnn9-runtime

FROM ${BUILDER} AS builder
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]

# Ubuntu's and Debian's archives drop old versions, so a pinned version would soon fail to build. The release pins the
# major version, and the SBOM records what was installed. openjdk needs a directory for manuals, which slim images lack.
# hadolint ignore=DL3008
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked \
    mkdir -p /usr/share/man/man1 \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends binutils openjdk-17-jdk-headless
# The front end does not start without java.desktop.
RUN jlink --add-modules java.base,java.logging,java.management,java.naming,java.sql,java.xml,java.desktop,jdk.unsupported,jdk.crypto.ec \
    --strip-debug --no-header-files --no-man-pages --compress=2 --output /opt/java

# Installs what image/LOCK.lock pins, with hashes, into the user's site-packages of the base's Python, and compiles byte
# code on all cores. The .pth file puts the project itself on Python's path. The large libraries become layers of their own,
# which are pulled in parallel and kept when others change.
ARG LOCK=official
ARG TRIM=safe
ENV PYTHONUSERBASE=/home/appuser/.local
COPY image/${LOCK}.lock image/trim.py /build/
WORKDIR /build
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip install --user --require-hashes --no-deps --ignore-installed --no-compile --no-warn-script-location \
        --disable-pip-version-check --root-user-action=ignore -r "${LOCK}.lock" \
    && packages=$(python -m site --user-site) \
    && echo /app > "$packages/multi_label_torchserve.pth" \
    && python trim.py "$packages" --level "${TRIM}" \
    && python -m compileall -q -j0 "$packages" \
    && for layer in cudnn cuda torch; do mkdir -p "/layers/$layer$packages"; done \
    && if [ -d "$packages/nvidia" ]; then \
        mkdir "/layers/cudnn$packages/nvidia" \
        && mv "$packages/nvidia/cudnn" "/layers/cudnn$packages/nvidia/" \
        && mv "$packages/nvidia" "$packages/cusparselt" "/layers/cuda$packages/" \
        && mv "$packages/torch" "/layers/torch$packages/"; \
    fi
# Java loads this library from here. Otherwise it would unpack it into /tmp, which may be a noexec tmpfs.
RUN mkdir /opt/native \
    && python -m zipfile -e "$(python -m site --user-site)/ts/frontend/model-server.jar" /build/jar \
    && cp /build/jar/META-INF/native/libnetty_transport_native_epoll_x86_64.so /opt/native/

# The program that writes the bill of materials. It stays out of the image.
COPY image/sbom.lock /build/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip install --target /opt/sbom --require-hashes --no-deps --disable-pip-version-check \
        --root-user-action=ignore -r sbom.lock

FROM ${RUNTIME} AS runtime
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]

# haproxy stands before TorchServe (image/haproxy.cfg), and tini is process 1. TorchServe runs the kill of procps to scale
# down; without it, scaling down answers 500. No file keeps a set-user-ID bit.
# hadolint ignore=DL3008
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends haproxy procps tini \
    && rm -rf /var/log/apt /var/log/*.log \
    && groupadd --gid 1000 appuser \
    && useradd --uid 1000 --gid appuser --create-home --shell /usr/sbin/nologin appuser \
    && chmod 755 /home/appuser \
    && install -d -o appuser -g appuser -m 755 /app/models \
    && install -d -o appuser -g appuser -m 1777 /app/logs /app/state /home/appuser/.cache \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +

COPY --from=builder /layers/cudnn /
COPY --from=builder /layers/cuda /
COPY --from=builder /layers/torch /
COPY --from=builder /home/appuser/.local /home/appuser/.local
COPY --from=builder /opt/java /opt/java
COPY --from=builder /opt/native /usr/lib

# HOME is set for user IDs that are not in /etc/passwd. The two NVIDIA variables let the container toolkit bring the driver
# and nvidia-smi, with which TorchServe counts the GPUs.
ENV PATH=/home/appuser/.local/bin:/opt/java/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUSERBASE=/home/appuser/.local \
    HOME=/home/appuser \
    JAVA_HOME=/opt/java \
    NO_ALBUMENTATIONS_UPDATE=1 \
    HF_HUB_OFFLINE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    TS_INFERENCE_ADDRESS=http://0.0.0.0:8080

WORKDIR /app
RUN python -c "import albumentations, timm, torch, torchvision, ts; print(f'torch {torch.__version__}, CUDA {torch.version.cuda}, GPU here: {torch.cuda.is_available()}')"
RUN --mount=type=bind,from=builder,source=/opt/sbom,target=/opt/sbom \
    --mount=type=bind,source=image/sbom.py,target=/opt/sbom.py \
    PYTHONPATH=/opt/sbom python /opt/sbom.py sbom.cdx.json --java /opt/java --without /opt/sbom \
        --jar "$(python -m site --user-site)/ts/frontend/model-server.jar"

COPY config.properties /app/
COPY image/haproxy.cfg /app/image/
COPY frontend /app/frontend
COPY handler /app/handler
COPY scripts /app/scripts

USER 1000:1000
VOLUME ["/app/models", "/app/logs", "/home/appuser/.cache"]
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["python", "/app/scripts/health.py"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "/app/scripts/entrypoint.py"]
