#!/usr/bin/env bash
# Renders both overlays and refuses what the API server of Kubernetes would refuse, unknown fields included.
# Needs kustomize 5 or kubectl, and Python 3 (for kubernetes-validate, which is installed into .venv when it is missing).
set -euo pipefail
cd "$(dirname "$0")/../.."

kubernetes_version=1.34
validator_version=1.37.0
venv=.venv
out=target/k8s

render() {
  if command -v kustomize >/dev/null 2>&1; then
    kustomize build "$1"
  elif command -v kubectl >/dev/null 2>&1; then
    kubectl kustomize "$1"
  else
    echo "k8s-check: needs kustomize 5 (go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.1) or kubectl" >&2
    exit 69
  fi
}

if ! "$venv/bin/python" -c 'import kubernetes_validate' 2>/dev/null; then
  echo "k8s-check: installing kubernetes-validate $validator_version into $venv"
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "kubernetes-validate==$validator_version"
fi

mkdir -p "$out"
for overlay in dev production; do
  file="$out/$overlay.yaml"
  render "deploy/k8s/overlays/$overlay" >"$file"
  "$venv/bin/kubernetes-validate" --quiet --strict -k "$kubernetes_version" "$file"
  echo "k8s-check: $overlay: $(grep -c '^kind:' "$file") objects, no unknown field"
done

# The check must be able to fail: a field that does not exist is refused.
sed 's/^  replicas: 1$/  replicaz: 1/' "$out/dev.yaml" >"$out/broken.yaml"
if "$venv/bin/kubernetes-validate" --quiet --strict -k "$kubernetes_version" "$out/broken.yaml" >/dev/null 2>&1; then
  echo "k8s-check: the check accepts a misspelt field; it checks nothing" >&2
  exit 1
fi
rm -f "$out/broken.yaml"
