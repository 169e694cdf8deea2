
/*
 * Copyright (C) nginx-cycles authors
 */


#include <stdlib.h>

#include "cycles_scan.h"
#include "tap.h"


/* several times what is read at once, and where it may begin */

#define LONGEST  200
#define FIRST    33


static int ends(unsigned ch, cycles_scan_t what);
static int test_byte(unsigned ch, cycles_scan_t what);


int
main(void)
{
    int            good, n;
    unsigned       ch, what;

    static const char  *names[] = { "any", "UTF-8", "ASCII" };

    for (what = CYCLES_SCAN_ANY; what <= CYCLES_SCAN_ASCII; what++) {

        good = 1;
        n = 0;

        for (ch = 0; ch < 256; ch++) {
            good = good && test_byte(ch, (cycles_scan_t) what);
            n += ends(ch, (cycles_scan_t) what);
        }

        ok(good, "%d bytes end a string of %s, wherever they are", n,
           names[what]);
    }

    return done_testing();
}


static int
ends(unsigned ch, cycles_scan_t what)
{
    return ch == '"' || ch == '\\'
           || (what != CYCLES_SCAN_ANY && ch < ' ')
           || (what == CYCLES_SCAN_ASCII && ch > 0x7f);
}


/* the only one of a text, in each place, and nothing behind it is read */

static int
test_byte(unsigned ch, cycles_scan_t what)
{
    int             good;
    size_t          n, first, place;
    unsigned char  *text;

    good = 1;

    for (n = 1; n <= LONGEST; n += (n < 70) ? 1 : 13) {

        text = malloc(n);
        if (text == NULL) {
            return 0;
        }

        memset(text, 'a', n);

        for (first = 0; first <= FIRST && first < n; first += 11) {
            for (place = 0; place < n; place++) {

                text[place] = (unsigned char) ch;

                good = good
                       && cycles_scan(text, text + first, text + n, what)
                          == text + ((place >= first && ends(ch, what))
                                     ? place : n);

                text[place] = 'a';
            }
        }

        free(text);
    }

    return good;
}
