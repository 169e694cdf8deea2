
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#include "llm_dialect.h"


/* in the order of llm_provider_t */

static const llm_dialect_t  *llm_dialects[LLM_PROVIDERS] = {
    &llm_openai
};


const char *
llm_provider_name(llm_provider_t provider)
{
    return llm_dialect(provider)->name;
}


int
llm_provider_find(const unsigned char *name, size_t len)
{
    int          i;
    const char  *known;

    for (i = 0; i < LLM_PROVIDERS; i++) {

        known = llm_dialects[i]->name;

        if (strlen(known) == len && memcmp(known, name, len) == 0) {
            return i;
        }
    }

    return -1;
}


const llm_dialect_t *
llm_dialect(llm_provider_t provider)
{
    return llm_dialects[provider];
}
