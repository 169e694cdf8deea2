
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
    int                  cut;             /* others than 0 were not kept */
    int64_t              exponent;        /* of the last digit kept */
} llm_decimal_t;


static size_t llm_decimal_digits(llm_decimal_t *d, const char *text,
    size_t len, int fraction);
static int llm_decimal_read(llm_decimal_t *d, const char *text, size_t len,
    int scale);
static int64_t llm_decimal_round(llm_decimal_t *d, int up);


int64_t
llm_decimal(const char *text, size_t len, int scale)
{
    llm_decimal_t  d;

    return llm_decimal_read(&d, text, len, scale) == LLM_OK
           ? llm_decimal_round(&d, 0) : -1;
}


int64_t
llm_decimal_up(const char *text, size_t len, int scale)
{
    llm_decimal_t  d;

    return llm_decimal_read(&d, text, len, scale) == LLM_OK
           ? llm_decimal_round(&d, 1) : -1;
}


static int
llm_decimal_read(llm_decimal_t *d, const char *text, size_t len, int scale)
{
    int      minus;
    size_t   i, n;
    int64_t  exponent;

    d->digits = 0;
    d->significant = 0;
    d->cut = 0;
    d->exponent = 0;

    n = llm_decimal_digits(d, text, len, 0);
    i = n;

    if (n && i < len && text[i] == '.') {
        i++;
        n = llm_decimal_digits(d, text + i, len - i, 1);
        i += n;
    }

    if (n == 0) {
        return LLM_ERROR;
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
            return LLM_ERROR;
        }
    }

    if (i != len) {
        return LLM_ERROR;
    }

    d->exponent += scale + (minus ? -exponent : exponent);

    return LLM_OK;
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
            d->cut |= (text[i] != '0');
            d->exponent += !fraction;
        }
    }

    return i;
}


static int64_t
llm_decimal_round(llm_decimal_t *d, int up)
{
    int                more;
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

    more = up ? d->cut : 0;

    for ( /* void */ ; d->exponent < 0; d->exponent++) {

        if (value == 0) {
            return up;
        }

        more = up ? (more || value % 10) : (value % 10 >= 5);
        value /= 10;
    }

    value += (unsigned) more;

    return (value > INT64_MAX) ? -2 : (int64_t) value;
}
