# Stands in for redis:7.4-bookworm where no registry can be reached: Debian's Redis, with the same user and folder.
FROM localhost/bookworm:minbase
# hadolint ignore=DL3008
RUN groupadd --system --gid 999 redis \
    && useradd --system --uid 999 --gid redis --home-dir /data redis \
    && apt-get -qq update \
    && apt-get -qq install -y --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner redis --group redis /data
WORKDIR /data
VOLUME /data
EXPOSE 6379
CMD ["redis-server"]
