
/*
 * Copyright (C) nginx-cycles authors
 *
 * Exact: no double ever holds a price.
 */


#include "llm_price.h"


/*
 * More than the digits of an int64 at any scale, so that what is cut off
 * behind them can't change which way the result is rounded.
 */

#define LLM_DECIMAL_DIGITS  36

#define LLM_DECIMAL_FAR     1000000


typedef struct {
    unsigned __int128    digits;
    int                  significant;
    int64_t              exponent;        /* of the last digit kept */
} llm_decimal_t;


static size_t llm_decimal_digits(llm_decimal_t *d, const char *text,
    size_t len, int fraction);
static int64_t llm_decimal_round(llm_decimal_t *d);


int64_t
llm_decimal(const char *text, size_t len, int scale)
{
    int            minus;
    size_t         i, n;
    int64_t        exponent;
    llm_decimal_t  d;

    d.digits = 0;
    d.significant = 0;
    d.exponent = 0;

    n = llm_decimal_digits(&d, text, len, 0);
    i = n;

    if (n && i < len && text[i] == '.') {
        i++;
        n = llm_decimal_digits(&d, text + i, len - i, 1);
        i += n;
    }

    if (n == 0) {
        return -1;
    }

    exponent = 0;
    minus = 0;

    if (i < len && (text[i] == 'e' || text[i] == 'E')) {

        i++;

        if (i < len && (text[i] == '-' || text[i] == '+')) {
            minus = (text[i++] == '-');
        }

        for (n = i; i < len && text[i] >= '0' && text[i] <= '9'; i++) {
            if (exponent < LLM_DECIMAL_FAR) {
                exponent = exponent * 10 + (text[i] - '0');
            }
        }

        if (i == n) {
            return -1;
        }
    }

    if (i != len) {
        return -1;
    }

    d.exponent += scale + (minus ? -exponent : exponent);

    return llm_decimal_round(&d);
}


static size_t
llm_decimal_digits(llm_decimal_t *d, const char *text, size_t len,
    int fraction)
{
    size_t  i;

    for (i = 0; i < len && text[i] >= '0' && text[i] <= '9'; i++) {

        if (d->significant < LLM_DECIMAL_DIGITS) {

            d->digits = d->digits * 10 + (unsigned) (text[i] - '0');
            d->significant += (d->digits != 0);
            d->exponent -= fraction;

        } else {
            d->exponent += !fraction;
        }
    }

    return i;
}


static int64_t
llm_decimal_round(llm_decimal_t *d)
{
    int                half;
    unsigned __int128  value;

    value = d->digits;

    if (value == 0) {
        return 0;
    }

    for ( /* void */ ; d->exponent > 0; d->exponent--) {

        if (value > INT64_MAX) {
            return -2;
        }

        value *= 10;
    }

    half = 0;

    for ( /* void */ ; d->exponent < 0; d->exponent++) {

        if (value == 0) {
            return 0;
        }

        half = (value % 10 >= 5);
        value /= 10;
    }

    value += (unsigned) half;

    return (value > INT64_MAX) ? -2 : (int64_t) value;
}
