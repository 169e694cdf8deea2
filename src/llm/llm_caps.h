
/*
 * Copyright (C) nginx-cycles authors
 *
 * What has to change in a request so that it keeps within caps: a lower limit
 * of tokens, and the tools that are not allowed left out.  Each change is of
 * some bytes of the body; all others stay as they are.
 */


#ifndef _LLM_CAPS_H_INCLUDED_
#define _LLM_CAPS_H_INCLUDED_


#include "llm_request.h"


#define LLM_SPLICE_TEXT   96

/* the least that OpenAI's Responses and Anthropic's thinking take */

#define LLM_LEAST_OUTPUT    16
#define LLM_LEAST_THINKING  1024


/* bytes from start to end of the body, and what is there instead */

typedef struct {
    uint64_t         start;
    uint64_t         end;
    size_t           len;
    unsigned char    text[LLM_SPLICE_TEXT];
} llm_splice_t;


/* how many splices a request with so many tools can need at most */

#define llm_splices(ntools)  ((ntools) + LLM_LIMITS + LLM_PLACES + 2)


/* whether a tool may be used; the name is not zero-terminated */

typedef int (*llm_allowed_pt)(void *data, const unsigned char *name,
    size_t len);


/*
 * Appends to splices what lowers the limit of a request, of all its choices
 * together, to max_tokens.  NULL: done, which may be nothing; otherwise a
 * sentence says why the request can't keep within it.
 */

const char *llm_clamp(const llm_facts_t *facts, const llm_edits_t *edits,
    llm_provider_t provider, llm_api_t api, int64_t max_tokens,
    llm_splice_t *splices, unsigned *n);


/*
 * Appends to splices what removes the tools that are not allowed, and the
 * choice of one of them.  tools has facts->ntools of them.
 */

void llm_drop_tools(const llm_facts_t *facts, const llm_edits_t *edits,
    const llm_tool_t *tools, llm_allowed_pt allowed, void *data,
    llm_splice_t *splices, unsigned *n);


/* by their place in the body; none overlaps another one afterwards */

void llm_sort_splices(llm_splice_t *splices, unsigned n);


#endif /* _LLM_CAPS_H_INCLUDED_ */
