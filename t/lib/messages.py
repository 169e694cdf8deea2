# Copyright (C) nginx-cycles authors

"""What the module can write to the error log, read out of its sources."""

import glob
import os
import re

from documents import read
from gateway import ROOT


# whoever writes a line of the log: the argument with the level, that with the
# text, and which levels count.  What "nginx -t" refuses is not among them if it
# begins with the directive: it says itself what to write, see t/directives

LEVELS = r'NGX_LOG_(WARN|ERR|CRIT|ALERT|EMERG)|CYCLES_LEDGER_|level|\?'

WRITERS = {
    'ngx_log_error': (0, 3, LEVELS),
    'ngx_conf_log_error': (0, 3, 'NGX_LOG_WARN'),
    'ngx_http_cycles_client_log': (1, 6, LEVELS),
    'cycles_ledger_say': (1, 2, 'CYCLES_LEDGER_(WARN|ERR|ALERT)'),
    'cycles_journal_trouble': (1, 2, '.'),
}


def arguments(text, start):
    """Of the call whose parenthesis opens at start."""

    found, depth, last, i = [], 0, start + 1, start

    while True:
        char = text[i]
        if char == '"':
            i = re.compile(r'"(?:[^"\\]|\\.)*"').match(text, i).end()
            continue
        if char in '([{':
            depth += 1
        elif char in ')]}':
            depth -= 1
            if depth == 0:
                return found + [text[last:i]]
        elif char == ',' and depth == 1:
            found.append(text[last:i])
            last = i + 1
        i += 1


def pieces(text):
    """The texts of an argument: strings that follow each other are one, those
    of a condition are several."""

    found = ['']
    for token in re.findall(r'"(?:[^"\\]|\\.)*"|[?:]', text):
        if token in '?:':
            found.append('')
        else:
            found[-1] += token[1:-1].replace('\\"', '"')
    return found


def plain(text):
    """With "…" for what differs from line to line."""

    text = re.sub(r'%(?:\*s|[+-]?[0-9.]*(?:[uxXhlzMOTVDLipsdcRZN]|\.\d)'
                  r'(?:[DLisdzuxXMTV]|l[du])*)', '…', text)
    return re.sub(r'…(?:d|…)*', '…', text).strip(' :')


def messages():
    """{text: a file that has it}"""

    found = {}

    for path in sorted(glob.glob(ROOT + '/src/**/*.c', recursive=True)):
        source = re.sub(r'"\s*PRI\w64\s*"', 'd', read(path))
        source = re.sub(r'"\s*PRI\w64\b', 'd"', source)

        for match in re.finditer(r'^ +(?:\(void\) )?(%s)\(' % '|'.join(
                WRITERS), source, re.M):
            level, text, wanted = WRITERS[match.group(1)]
            args = arguments(source, match.end() - 1)
            if len(args) > text and re.search(wanted, args[level]):
                for piece in pieces(args[text]):
                    piece = plain(piece)
                    if piece.replace('cycles:', '').strip('… "') and not (
                            'EMERG' in args[level]
                            and piece.startswith('"cycles')):
                        found[piece] = os.path.relpath(path, ROOT)

    return found
