
/*
 * Copyright (C) nginx-cycles authors
 *
 * The delimiter begins with the only CR that it has, so that bytes which
 * turned out not to be one never hide the begin of another.
 */


#include <string.h>
#include <strings.h>

#include "llm_form.h"


typedef enum {
    sw_data = 0,
    sw_delimiter,                         /* behind the boundary */
    sw_line,                              /* of a part's header */
    sw_end,
    sw_error
} llm_form_state_t;


static int llm_form_data(llm_form_t *form, const unsigned char **pos,
    const unsigned char *last);
static int llm_form_delimiter(llm_form_t *form, unsigned ch);
static int llm_form_line(llm_form_t *form, unsigned ch);
static void llm_form_header(llm_form_t *form);
static const unsigned char *llm_form_parameter(const unsigned char *p,
    const unsigned char *last, const char *name, size_t *len);


int
llm_form_init(llm_form_t *form, const unsigned char *type, size_t len)
{
    size_t                n;
    const unsigned char  *boundary;

    static const char  form_data[] = "multipart/form-data";

    memset(form, 0, sizeof(llm_form_t));

    if (len < sizeof(form_data)
        || strncasecmp((const char *) type, form_data, sizeof(form_data) - 1)
           != 0)
    {
        return LLM_ERROR;
    }

    boundary = llm_form_parameter(type + sizeof(form_data) - 1, type + len,
                                  "boundary", &n);

    if (boundary == NULL || n == 0 || n > LLM_FORM_BOUNDARY
        || memchr(boundary, '\r', n))
    {
        return LLM_ERROR;
    }

    memcpy(form->delimiter, "\r\n--", 4);
    memcpy(form->delimiter + 4, boundary, n);
    form->delimiter_len = 4 + n;

    /* the first one begins the body */

    form->matched = 2;

    return LLM_OK;
}


int
llm_form_next(llm_form_t *form, const unsigned char **pos,
    const unsigned char *last)
{
    int  rc;

    rc = LLM_FORM_AGAIN;

    while (rc == LLM_FORM_AGAIN && *pos < last) {

        switch (form->state) {

        case sw_data:
            rc = llm_form_data(form, pos, last);
            break;

        case sw_delimiter:
            rc = llm_form_delimiter(form, *(*pos)++);
            break;

        case sw_line:
            rc = llm_form_line(form, *(*pos)++);
            break;

        case sw_end:
            *pos = last;
            break;

        default: /* sw_error */
            return LLM_FORM_ERROR;
        }
    }

    if (rc == LLM_FORM_ERROR) {
        form->state = sw_error;
    }

    return rc;
}


/* what precedes the first delimiter is no part's */

static int
llm_form_data(llm_form_t *form, const unsigned char **pos,
    const unsigned char *last)
{
    const unsigned char  *p;

    p = *pos;

    if (form->matched == 0 && *p != '\r') {

        form->text = p;
        p = memchr(p, '\r', (size_t) (last - p));
        p = p ? p : last;
        form->len = (size_t) (p - form->text);
        *pos = p;

        return form->in_part ? LLM_FORM_DATA : LLM_FORM_AGAIN;
    }

    while (p < last && *p == form->delimiter[form->matched]) {

        p++;

        if (++form->matched == form->delimiter_len) {
            *pos = p;
            form->matched = 0;
            form->dashes = 0;
            form->state = sw_delimiter;

            return form->in_part ? LLM_FORM_PART_END : LLM_FORM_AGAIN;
        }
    }

    *pos = p;

    if (p == last) {
        return LLM_FORM_AGAIN;
    }

    form->text = form->delimiter;
    form->len = form->matched;
    form->matched = 0;

    return form->in_part ? LLM_FORM_DATA : LLM_FORM_AGAIN;
}


/* two dashes end the form, else there may be white space up to the line end */

static int
llm_form_delimiter(llm_form_t *form, unsigned ch)
{
    form->in_part = 0;

    if (ch == '-') {

        if (++form->dashes == 2) {
            form->state = sw_end;
            return LLM_FORM_END;
        }

        return LLM_FORM_AGAIN;
    }

    if (form->dashes
        || (ch != ' ' && ch != '\t' && ch != '\r' && ch != '\n'))
    {
        return LLM_FORM_ERROR;
    }

    if (ch == '\n') {
        form->state = sw_line;
        form->line_len = 0;
        form->name = NULL;
        form->name_len = 0;
        form->file = 0;
    }

    return LLM_FORM_AGAIN;
}


static int
llm_form_line(llm_form_t *form, unsigned ch)
{
    if (ch != '\n') {

        if (form->line_len < LLM_FORM_LINE) {
            form->line[form->line_len++] = (unsigned char) ch;
        }

        return LLM_FORM_AGAIN;
    }

    if (form->line_len && form->line[form->line_len - 1] == '\r') {
        form->line_len--;
    }

    if (form->line_len) {
        llm_form_header(form);
        form->line_len = 0;
        return LLM_FORM_AGAIN;
    }

    form->state = sw_data;
    form->in_part = 1;

    return LLM_FORM_PART;
}


static void
llm_form_header(llm_form_t *form)
{
    size_t                len;
    const unsigned char  *last;

    static const char  name[] = "content-disposition:";

    if (form->line_len < sizeof(name) - 1
        || strncasecmp((const char *) form->line, name, sizeof(name) - 1)
           != 0)
    {
        return;
    }

    memcpy(form->part, form->line, form->line_len);
    last = form->part + form->line_len;

    form->name = llm_form_parameter(form->part, last, "name",
                                    &form->name_len);
    form->file = llm_form_parameter(form->part, last, "filename", &len)
                 || llm_form_parameter(form->part, last, "filename*", &len);
}


/* ; name="value", or without the quotes */

static const unsigned char *
llm_form_parameter(const unsigned char *p, const unsigned char *last,
    const char *name, size_t *len)
{
    int                   quoted;
    size_t                n;
    const unsigned char  *value;

    n = strlen(name);

    while (p < last) {

        /* the next parameter; quotes may have a semicolon in them */

        for (quoted = 0; p < last && (quoted || *p != ';'); p++) {
            quoted ^= (*p == '"');
        }

        while (p < last && (*p == ';' || *p == ' ' || *p == '\t')) {
            p++;
        }

        if ((size_t) (last - p) <= n
            || strncasecmp((const char *) p, name, n) != 0 || p[n] != '=')
        {
            continue;
        }

        p += n + 1;

        if (p < last && *p == '"') {
            value = ++p;
            p = memchr(p, '"', (size_t) (last - p));

            if (p == NULL) {
                return NULL;
            }

        } else {
            for (value = p; p < last && *p != ';' && *p != ' '; p++) {
                /* void */
            }
        }

        *len = (size_t) (p - value);

        return value;
    }

    return NULL;
}
