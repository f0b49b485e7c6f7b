# Images: api, migrations, and worker (emulated accelerators, guests by QEMU's TCG). How to build and run them: docs/install.md.
# No registry is named here. debian and node are official images, which builders find by these names. The .NET SDK is not one of them:
# whoever builds says where his is, --build-arg DOTNET_SDK=..., and a build without it stops at once. Programs run on Debian with the
# runtime of that SDK, so that there is one such name and one version of .NET.
# For another architecture than the builder's (--platform) only Debian's packages are installed by emulation: ours are the same files.
ARG DOTNET_SDK
ARG NODE=node:22-trixie-slim
ARG DEBIAN=debian:trixie-slim

FROM --platform=$BUILDPLATFORM ${DOTNET_SDK} AS build
ENV DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1
WORKDIR /source
COPY global.json Directory.Build.props Directory.Packages.props BannedSymbols.txt .editorconfig ./
COPY api/Sandbox.Api.csproj api/packages.lock.json api/
COPY api/Contracts/Sandbox.Contracts.csproj api/Contracts/packages.lock.json api/Contracts/
COPY migrations/Sandbox.Migrations.csproj migrations/packages.lock.json migrations/
COPY worker/Sandbox.Worker.csproj worker/packages.lock.json worker/
RUN for project in api migrations worker; do dotnet restore --locked-mode "$project" || exit 1; done
COPY api api
COPY migrations migrations
COPY worker worker
RUN for project in api migrations worker; do \
      dotnet publish "$project" -c Release --no-restore -p:UseAppHost=false -o "/out/$project" || exit 1; \
    done

FROM --platform=$BUILDPLATFORM ${NODE} AS page
WORKDIR /source/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web ./
RUN npm run build -- --outDir /out/web --emptyOutDir

# The guest image, from Debian's arm64 packages and our agent, which is compiled for arm64 on whatever machine this is.
FROM --platform=$BUILDPLATFORM ${DEBIAN} AS guest
ENV DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 PATH=/usr/share/dotnet:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /source
COPY deploy/guest-image/packages deploy/guest-image/packages
RUN apt-get update \
    && sed 's/#.*//' deploy/guest-image/packages | xargs apt-get install -y --no-install-recommends ca-certificates libssl3t64 libstdc++6 zlib1g-dev
COPY --from=build /usr/share/dotnet /usr/share/dotnet
COPY global.json Directory.Build.props Directory.Packages.props BannedSymbols.txt .editorconfig ./
COPY api/Contracts api/Contracts
COPY worker/GuestAgent worker/GuestAgent
COPY deploy/guest-image deploy/guest-image
COPY deploy/packages deploy/packages
RUN SANDBOX_CACHE=/tmp/cache deploy/guest-image/build.sh /out/images/guest && rm -rf /tmp/cache

# Of the architecture that the images are for. Nothing runs in it.
FROM ${DOTNET_SDK} AS dotnet

FROM ${DEBIAN} AS runtime
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libgcc-s1 libgssapi-krb5-2 libssl3t64 libstdc++6 tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 sandbox \
    && useradd --uid 10001 --gid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin sandbox
COPY --from=dotnet /usr/share/dotnet/dotnet /usr/share/dotnet/dotnet
COPY --from=dotnet /usr/share/dotnet/host /usr/share/dotnet/host
COPY --from=dotnet /usr/share/dotnet/shared /usr/share/dotnet/shared
# Without its diagnostics port .NET writes nothing: the root may be read-only.
ENV PATH=/usr/share/dotnet:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DOTNET_NOLOGO=1 DOTNET_EnableDiagnostics=0

FROM runtime AS api
WORKDIR /opt/sandbox/api
COPY --from=build /out/api ./
COPY --from=page /out/web /opt/sandbox/web
ENV Urls=http://*:8080 Web__Root=/opt/sandbox/web
EXPOSE 8080
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s CMD ["dotnet", "/opt/sandbox/api/Sandbox.Api.dll", "health"]
ENTRYPOINT ["dotnet", "/opt/sandbox/api/Sandbox.Api.dll"]

# Two folders for what it makes, so that the worker's volume does not hold the administrator's key.
FROM runtime AS migrations
WORKDIR /opt/sandbox/migrations
COPY --from=build /out/migrations ./
RUN install -d -m 700 -o 10001 -g 10001 /var/lib/sandbox/admin /var/lib/sandbox/token
USER 10001:10001
ENTRYPOINT ["dotnet", "/opt/sandbox/migrations/Sandbox.Migrations.dll"]
CMD ["--connection-file", "/run/secrets/connection", "--admin-key-file", "/var/lib/sandbox/admin/admin.key", "--node-token-file", "/var/lib/sandbox/token/node.token", "--node-name", "local"]

FROM runtime AS worker
RUN apt-get update \
    && apt-get install -y --no-install-recommends qemu-system-arm qemu-efi-aarch64 util-linux \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -m 711 -o 10001 -g 10001 /var/lib/sandbox/node \
    && install -d -m 700 -o 10001 -g 10001 /var/lib/sandbox/token
WORKDIR /opt/sandbox/worker
COPY --from=build /out/worker ./
COPY --from=guest /out/images /opt/sandbox/images
COPY deploy/container/worker.sh /opt/sandbox/worker.sh
ENV Worker__TokenFile=/var/lib/sandbox/token/node.token Worker__StateDirectory=/var/lib/sandbox/node \
    Worker__ImagesDirectory=/opt/sandbox/images Worker__MetricsAddress=127.0.0.1:9464
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=6s --start-period=60s CMD ["dotnet", "/opt/sandbox/worker/Sandbox.Worker.dll", "health"]
ENTRYPOINT ["/opt/sandbox/worker.sh"]
