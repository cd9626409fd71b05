#!/bin/sh
# Put beside the wheels in DIST: the site as site.tar.gz, an SBOM (CycloneDX) of what installing the
# general wheel brings, and SHA256SUMS of all files.
# Usage: release_files.sh PYTHON BIN-OF-CYCLONEDX DIST SITE
set -eu
python=$1 bin=$2 dist=$3 site=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv --without-pip "$work/venv"
# Of what is installed, without the pip that installed it.
"$bin/python" -m pip --disable-pip-version-check --quiet --python "$work/venv/bin/python" \
  install "$dist"/lesionedge-*-py3-none-any.whl
"$bin/cyclonedx-py" environment "$work/venv/bin/python" --pyproject pyproject.toml --mc-type library \
  --output-reproducible --output-format JSON --output-file "$dist/sbom.cdx.json"
# cyclonedx-py does not know a version that pyproject.toml calls dynamic.
version=$(basename "$dist"/lesionedge-*-py3-none-any.whl | cut -d- -f2)
"$python" - "$dist/sbom.cdx.json" "$version" <<'EDIT'
import json, sys
path, version = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    bill = json.load(file)
bill["metadata"]["component"]["version"] = version
with open(path, "w", encoding="utf-8") as file:
    json.dump(bill, file, indent=2)
EDIT
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -czf "$dist/site.tar.gz" -C "$site" .
(cd "$dist" && sha256sum -- *.whl sbom.cdx.json site.tar.gz >SHA256SUMS)
cat "$dist/SHA256SUMS"
