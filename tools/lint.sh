#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# Both compilers with every warning an error, the style that a machine can
# see, and the syntax of the scripts.

. tools/common.sh

warn=(-std=gnu99 -O2 -Wall -Wextra -Werror -Wno-unused-parameter)
failed=0


fail() {
    printf '%s\n' "$*" >&2
    failed=1
}


mapfile -t sources < <(find src t/unit t/fuzz bench demo -name '*.[ch]' | sort)
mapfile -t plain < <(find src t bench demo -name '*.c' ! -name 'ngx_*' \
                         ! -path t/lib/fuzz.c | sort)
mapfile -t scripts < <(grep -rlE '^#!.*\b(ba)?sh$' tools t .ci demo bench docker)
mapfile -t pythons < <(find t demo bench -name '*.py' | sort)

for cc in gcc clang; do
    say "$cc: the parts that know no nginx"
    mkdir -p "$BUILD/lint/$cc"

    # what newer nginx asks clang for

    extra=()
    [ $cc = gcc ] || extra=(-Wconditional-uninitialized)

    for file in "${plain[@]}"; do
        "$cc" "${warn[@]}" "${extra[@]}" -Isrc -It/unit -c "$file" \
            -o "$BUILD/lint/$cc/$(basename "$file").o" || fail "$cc: $file"
    done

    say "$cc: the module"
    CC=$cc tools/build-module.sh "${NGINX_SRC:-/usr/share/nginx/src}" \
        "$BUILD/lint/objs-$cc" "$BUILD/lint/$cc/module.so" \
        || fail "$cc: the module"
done

say "whitespace, width, words"

for file in "${sources[@]}"; do
    grep -nHP '\t' "$file" && fail "$file: a tab"
    grep -nHE ' +$' "$file" && fail "$file: space at the end of a line"
    grep -nHP '^.{81}' "$file" && fail "$file: more than 80 columns"
    grep -nHwE 'TODO|FIXME|XXX' "$file" && fail "$file: unfinished"
    grep -q 'Copyright (C) nginx-cycles authors' "$file" \
        || fail "$file: no header"
    [ -z "$(tail -c 1 "$file")" ] || fail "$file: no newline at the end"
done

for file in src/cycles*.[ch] src/llm/*.[ch] src/*/cycles_*.[ch]; do
    grep -nHE '#include +[<"]ngx_' "$file" && fail "$file: includes nginx"
done

say "scripts"

if command -v shellcheck > /dev/null; then
    shellcheck -x -e SC1091,SC2015 "${scripts[@]}" || fail "shellcheck"
fi

python3 - "${pythons[@]}" << 'END' || fail "python"
import sys

for name in sys.argv[1:]:
    with open(name) as file:
        text = file.read()
    compile(text, name, 'exec')
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > 80 or '\t' in line or line != line.rstrip():
            sys.exit('%s:%d: width or whitespace' % (name, number))
END

[ $failed = 0 ] || die "lint found something"
say "lint is clean"
