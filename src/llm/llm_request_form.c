
/*
 * Copyright (C) nginx-cycles authors
 *
 * Requests that are a form: transcriptions, and edits of images.
 */


#include <string.h>
#include <strings.h>

#include "llm_request_value.h"


/* names that matter, by the bits of llm_request_t.seen */

typedef enum {
    LLM_PART_OTHER = 0,
    LLM_PART_MODEL,
    LLM_PART_STREAM,
    LLM_PART_N,
    LLM_PART_SIZE,
    LLM_PART_QUALITY,
    LLM_PART_TEXT,
    LLM_PART_FILE
} llm_part_t;


static int llm_form_part(llm_request_t *rq);
static int llm_form_model(llm_request_t *rq);
static int llm_form_number(llm_request_t *rq);
static int llm_form_is(const llm_form_t *form, const char *name);


int
llm_request_form(llm_request_t *rq, const unsigned char *p, size_t n)
{
    llm_form_t           *form;
    const unsigned char  *last;

    form = &rq->form;
    last = p + n;

    for ( ;; ) {

        switch (llm_form_next(form, &p, last)) {

        case LLM_FORM_AGAIN:
            return LLM_OK;

        case LLM_FORM_ERROR:
            return llm_request_fail(rq, "the form in the body can't be read");

        case LLM_FORM_END:
            rq->form_end = 1;
            break;

        case LLM_FORM_PART:
            if (llm_form_part(rq) != LLM_OK) {
                return LLM_ERROR;
            }

            break;

        case LLM_FORM_DATA:
            switch (rq->form_part) {

            case LLM_PART_FILE:
                rq->audio += form->len;
                break;

            case LLM_PART_TEXT:
                llm_estimate_feed(&rq->estimate, form->text, form->len);
                break;

            default:
                llm_text_add(&rq->text, form->text, form->len);
            }

            break;

        default: /* LLM_FORM_PART_END */
            if (rq->form_part == LLM_PART_MODEL
                && llm_form_model(rq) != LLM_OK)
            {
                return LLM_ERROR;
            }

            if (rq->form_part == LLM_PART_N
                && llm_form_number(rq) != LLM_OK)
            {
                return LLM_ERROR;
            }

            if (rq->form_part == LLM_PART_SIZE) {
                llm_request_size(rq);
            }

            if (rq->form_part == LLM_PART_QUALITY) {
                llm_request_quality(rq);
            }

            if (rq->form_part == LLM_PART_STREAM) {
                rq->facts.stream = (rq->text.len == 4
                                    && memcmp(rq->word, "true", 4) == 0);
            }
        }
    }
}


static int
llm_form_part(llm_request_t *rq)
{
    uint64_t     bit;
    llm_form_t  *form;

    form = &rq->form;

    rq->form_part = form->file ? LLM_PART_FILE
                    : llm_form_is(form, "model") ? LLM_PART_MODEL
                    : llm_form_is(form, "stream") ? LLM_PART_STREAM
                    : llm_form_is(form, "n") ? LLM_PART_N
                    : llm_form_is(form, "size") ? LLM_PART_SIZE
                    : llm_form_is(form, "quality") ? LLM_PART_QUALITY
                    : llm_form_is(form, "prompt") ? LLM_PART_TEXT
                    : LLM_PART_OTHER;

    switch (rq->form_part) {

    case LLM_PART_FILE:
        if (rq->api == LLM_API_IMAGES) {
            rq->media = LLM_IMAGE;
            llm_request_file(rq);
        }

        return LLM_OK;

    case LLM_PART_TEXT:
        llm_estimate_string(&rq->estimate);
        return LLM_OK;

    case LLM_PART_MODEL:
        llm_text_init(&rq->text, rq->model, LLM_MODEL_MAX);
        break;

    case LLM_PART_OTHER:
        llm_text_init(&rq->text, rq->word, sizeof(rq->word));
        return LLM_OK;

    default:
        llm_text_init(&rq->text, rq->word, sizeof(rq->word));
    }

    bit = (uint64_t) 1 << rq->form_part;

    if (rq->seen & bit) {
        return llm_request_fail(rq, "a part of the form is there twice");
    }

    rq->seen |= bit;

    return LLM_OK;
}


static int
llm_form_model(llm_request_t *rq)
{
    if (rq->text.len > LLM_MODEL_MAX
        || !llm_text_printable(rq->model, rq->text.len))
    {
        return llm_request_fail(rq, "part \"model\" of the form must be up "
                                    "to 256 bytes of printable text");
    }

    rq->facts.model_len = rq->text.len;

    return LLM_OK;
}


static int
llm_form_number(llm_request_t *rq)
{
    size_t   i;
    int64_t  n;

    n = 0;

    for (i = 0; i < rq->text.len && i < 4; i++) {

        if (rq->word[i] < '0' || rq->word[i] > '9') {
            n = 0;
            break;
        }

        n = n * 10 + rq->word[i] - '0';
    }

    if (n < 1 || n > LLM_CHOICES_MAX) {
        return llm_request_fail(rq, "part \"n\" of the form must be a whole "
                                    "number from 1 to 128");
    }

    rq->facts.images = n;

    return LLM_OK;
}


static int
llm_form_is(const llm_form_t *form, const char *name)
{
    return form->name && form->name_len == strlen(name)
           && memcmp(form->name, name, form->name_len) == 0;
}
