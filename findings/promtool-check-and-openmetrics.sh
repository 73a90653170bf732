#!/usr/bin/env bash
# No OpenMetrics text with a counter pleases both halves of one tool: promtool 2.42.0 imports the text and its check refuses it.
#
# One would expect `promtool check metrics`, which lints what an endpoint answers, to read what `promtool tsdb
# create-blocks-from openmetrics` reads. It knows the older text format alone, does not say so in its help, and takes an
# OpenMetrics text as far as the two look alike. In OpenMetrics the counter `http_requests_total` belongs to the family
# `http_requests`, so the linter misses the help and the type that are there (exit code 3), and stops at an exemplar or at a
# time with a fraction (exit code 1). A text written to please it is no OpenMetrics for the format's own parser in Python.
# What follows: lint what the endpoint answers to a client that asks for the older format.
set -euo pipefail
dir=$(mktemp -d)
chmod 755 "$dir"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download --quiet=2 prometheus=2.42.0+ds-5+deb12u1 2> warnings || { cat warnings; exit 1; }
dpkg-deb --extract prometheus_*.deb package
python3 -m venv venv
venv/bin/pip install --quiet prometheus-client==0.26.0
promtool=$dir/package/usr/bin/promtool
$promtool --version | head -n 1

printf '%s\n' '# HELP http_requests Requests answered.' '# TYPE http_requests counter' \
  'http_requests_total{code="200"} 7 1700000000' '# EOF' > counter.txt
sed 's/ 1700000000$/&.5/' counter.txt > fraction.txt
sed 's/ 1700000000$/& # {trace_id="x"} 1/' counter.txt > exemplar.txt
sed 's/http_requests /http_requests_total /' counter.txt > to-please.txt
cat > parse.py <<'PYTHON'
import sys
from importlib.metadata import version

from prometheus_client.openmetrics.parser import text_string_to_metric_families

print("prometheus-client", version("prometheus-client"), end=": ")
try:
    for family in list(text_string_to_metric_families(open(sys.argv[1]).read())):
        print("a", family.type, family.name, "with help" if family.documentation else "without help")
except ValueError as error:
    print(error)
    sys.exit(1)
PYTHON
failed=0
check() { # text, exit codes of the parser, the import and the linter as they were
  echo "$1.txt:"
  found=
  for command in "venv/bin/python parse.py $1.txt" "$promtool tsdb create-blocks-from openmetrics $1.txt $1" "$promtool check metrics"; do
    code=0
    $command < "$1.txt" > out 2>&1 || code=$?
    sed 's/^/  /' out
    found="$found $code"
  done
  echo "  parser, import, check:$found"
  test "$found" = "$2" || { echo "  it was$2"; failed=1; }
}
check counter " 0 0 3"
check fraction " 0 0 1"
check exemplar " 0 0 1"
check to-please " 1 0 0"
exit $failed
