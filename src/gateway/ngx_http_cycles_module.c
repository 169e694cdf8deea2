
/*
 * Copyright (C) nginx-cycles authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"
#include "../client/ngx_http_cycles_client.h"
#include "../ledger/ngx_http_cycles_ledger.h"


typedef struct {
    ngx_msec_t                min;
    ngx_msec_t                max;
    const char               *text;
} ngx_http_cycles_range_t;


static char *ngx_http_cycles_authority(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cycles_api_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cycles_subject(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_cycles_level_header(ngx_conf_t *cf,
    ngx_http_cycles_level_t *level, ngx_str_t *value);
static char *ngx_http_cycles_dimension(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cycles_action(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cycles_metadata(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cycles_estimate(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cycles_actual(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cycles_enum(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cycles_msec(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cycles_retry(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cycles_provider(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cycles_unknown_price(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cycles_max_output_tokens(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_cycles_estimate_margin(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_cycles_deny_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

static char *ngx_http_cycles_value_array(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_array_t **array);
static ngx_int_t ngx_http_cycles_thousandths(ngx_str_t *value);

static void *ngx_http_cycles_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_cycles_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_cycles_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static ngx_http_cycles_server_t *ngx_http_cycles_merge_server(ngx_conf_t *cf,
    ngx_http_cycles_loc_conf_t *conf);
static char *ngx_http_cycles_merge_authority(ngx_conf_t *cf,
    ngx_http_cycles_loc_conf_t *conf);
static char *ngx_http_cycles_check_loc_conf(ngx_conf_t *cf,
    ngx_http_cycles_loc_conf_t *conf);
static ngx_int_t ngx_http_cycles_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_cycles_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_cycles_check_authorities(ngx_conf_t *cf);


static ngx_conf_enum_t  ngx_http_cycles_modes[] = {
    { ngx_string("off"), NGX_HTTP_CYCLES_OFF },
    { ngx_string("on"), NGX_HTTP_CYCLES_ON },
    { ngx_string("dry_run"), NGX_HTTP_CYCLES_DRY_RUN },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_cycles_units[] = {
    { ngx_string("USD_MICROCENTS"), CYCLES_USD_MICROCENTS },
    { ngx_string("TOKENS"), CYCLES_TOKENS },
    { ngx_string("CREDITS"), CYCLES_CREDITS },
    { ngx_string("RISK_POINTS"), CYCLES_RISK_POINTS },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_cycles_policies[] = {
    { ngx_string("ALLOW_IF_AVAILABLE"), CYCLES_ALLOW_IF_AVAILABLE },
    { ngx_string("REJECT"), CYCLES_REJECT },
    { ngx_string("ALLOW_WITH_OVERDRAFT"), CYCLES_ALLOW_WITH_OVERDRAFT },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_cycles_signed[] = {
    { ngx_string("deny"), NGX_HTTP_CYCLES_SIGNED_DENY },
    { ngx_string("pass"), NGX_HTTP_CYCLES_SIGNED_PASS },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_cycles_aborts[] = {
    { ngx_string("drain"), NGX_HTTP_CYCLES_ABORT_DRAIN },
    { ngx_string("estimate"), NGX_HTTP_CYCLES_ABORT_ESTIMATE },
    { ngx_string("input"), NGX_HTTP_CYCLES_ABORT_INPUT },
    { ngx_string("hold"), NGX_HTTP_CYCLES_ABORT_HOLD },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_cycles_missing[] = {
    { ngx_string("estimate"), NGX_HTTP_CYCLES_MISSING_ESTIMATE },
    { ngx_string("release"), NGX_HTTP_CYCLES_MISSING_RELEASE },
    { ngx_string("hold"), NGX_HTTP_CYCLES_MISSING_HOLD },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_cycles_outages[] = {
    { ngx_string("deny"), NGX_HTTP_CYCLES_OUTAGE_DENY },
    { ngx_string("allow"), NGX_HTTP_CYCLES_OUTAGE_ALLOW },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_cycles_websockets[] = {
    { ngx_string("deny"), NGX_HTTP_CYCLES_WEBSOCKET_DENY },
    { ngx_string("pass"), NGX_HTTP_CYCLES_WEBSOCKET_PASS },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_cycles_deny_formats[] = {
    { ngx_string("auto"), NGX_HTTP_CYCLES_DENY_FORMAT_AUTO },
    { ngx_string("openai"), LLM_ERRORS_OPENAI },
    { ngx_string("anthropic"), LLM_ERRORS_ANTHROPIC },
    { ngx_string("gemini"), LLM_ERRORS_GOOGLE },
    { ngx_string("bedrock"), LLM_ERRORS_BEDROCK },
    { ngx_string("mistral"), LLM_ERRORS_MISTRAL },
    { ngx_string("cohere"), LLM_ERRORS_COHERE },
    { ngx_string("ollama"), LLM_ERRORS_OLLAMA },
    { ngx_string("openrouter"), LLM_ERRORS_OPENROUTER },
    { ngx_string("llamacpp"), LLM_ERRORS_LLAMACPP },
    { ngx_string("vllm"), LLM_ERRORS_VLLM },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_cycles_header_modes[] = {
    { ngx_string("off"), NGX_HTTP_CYCLES_HEADERS_OFF },
    { ngx_string("on"), NGX_HTTP_CYCLES_HEADERS_ON },
    { ngx_string("amounts"), NGX_HTTP_CYCLES_HEADERS_AMOUNTS },
    { ngx_null_string, 0 }
};


static ngx_http_cycles_range_t  ngx_http_cycles_ttl_range = {
    CYCLES_MIN_TTL_MS, CYCLES_MAX_TTL_MS, "from 1s to 24h"
};

static ngx_http_cycles_range_t  ngx_http_cycles_grace_range = {
    0, CYCLES_MAX_GRACE_MS, "from 0 to 60s"
};

static ngx_http_cycles_range_t  ngx_http_cycles_timeout_range = {
    1, 600000, "from 1ms to 10m"
};


#define NGX_HTTP_CYCLES_CONF                                                  \
    NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF


static ngx_command_t  ngx_http_cycles_commands[] = {

    { ngx_string("cycles"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, mode),
      &ngx_http_cycles_modes },

    { ngx_string("cycles_authority"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE12,
      ngx_http_cycles_authority,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_api_key"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_api_key,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_subject"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE2,
      ngx_http_cycles_subject,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_dimension"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE2,
      ngx_http_cycles_dimension,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_action"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_2MORE,
      ngx_http_cycles_action,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_metadata"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE2,
      ngx_http_cycles_metadata,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_idempotency_key"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, idempotency_key),
      NULL },

    { ngx_string("cycles_unit"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, unit),
      &ngx_http_cycles_units },

    { ngx_string("cycles_estimate"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_estimate,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, estimate),
      "auto" },

    { ngx_string("cycles_max_estimate"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_estimate,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, max_estimate),
      "off" },

    { ngx_string("cycles_actual"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_actual,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_trust_reservation"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_1MORE,
      ngx_http_cycles_trust_reservation,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_ttl"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_msec,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, ttl),
      &ngx_http_cycles_ttl_range },

    { ngx_string("cycles_grace_period"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_msec,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, grace_period),
      &ngx_http_cycles_grace_range },

    { ngx_string("cycles_overage_policy"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, overage_policy),
      &ngx_http_cycles_policies },

    { ngx_string("cycles_timeout"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_msec,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, timeout),
      &ngx_http_cycles_timeout_range },

    { ngx_string("cycles_connect_timeout"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_msec,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, connect_timeout),
      &ngx_http_cycles_timeout_range },

    { ngx_string("cycles_retry"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1234,
      ngx_http_cycles_retry,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_apply_caps"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, apply_caps),
      NULL },

    { ngx_string("cycles_signed_requests"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, signed_requests),
      &ngx_http_cycles_signed },

    { ngx_string("cycles_breaker"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_1MORE,
      ngx_http_cycles_breaker,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_drain"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_1MORE,
      ngx_http_cycles_drain,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_on_abort"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, on_abort),
      &ngx_http_cycles_aborts },

    { ngx_string("cycles_on_missing_usage"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, on_missing_usage),
      &ngx_http_cycles_missing },

    { ngx_string("cycles_on_outage"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, on_outage),
      &ngx_http_cycles_outages },

    { ngx_string("cycles_provider"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_provider,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_price_region"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, price_region),
      NULL },

    { ngx_string("cycles_price_table"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_price_table,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_price"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_2MORE,
      ngx_http_cycles_price,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_model_alias"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE2,
      ngx_http_cycles_model_alias,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_unknown_price"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_unknown_price,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_max_output_tokens"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_max_output_tokens,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_estimate_margin"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_estimate_margin,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_stream_usage"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, stream_usage),
      NULL },

    { ngx_string("cycles_stream_cutoff"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, stream_cutoff),
      NULL },

    { ngx_string("cycles_websocket"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, websocket),
      &ngx_http_cycles_websockets },

    { ngx_string("cycles_deny_status"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_deny_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cycles_deny_message"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, deny_message),
      NULL },

    { ngx_string("cycles_deny_format"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, deny_format),
      &ngx_http_cycles_deny_formats },

    { ngx_string("cycles_response_headers"),
      NGX_HTTP_CYCLES_CONF|NGX_CONF_TAKE1,
      ngx_http_cycles_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cycles_loc_conf_t, response_headers),
      &ngx_http_cycles_header_modes },

    { ngx_string("cycles_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_cycles_status,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_cycles_module_ctx = {
    ngx_http_cycles_preconfiguration,      /* preconfiguration */
    ngx_http_cycles_init,                  /* postconfiguration */

    ngx_http_cycles_create_main_conf,      /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_cycles_create_loc_conf,       /* create location configuration */
    ngx_http_cycles_merge_loc_conf         /* merge location configuration */
};


ngx_module_t  ngx_http_cycles_module = {
    NGX_MODULE_V1,
    &ngx_http_cycles_module_ctx,           /* module context */
    ngx_http_cycles_commands,              /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static char *
ngx_http_cycles_authority(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    ngx_str_t  *value;

    if (clcf->authority_name.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 3) {

        if (value[1].data[0] != '@' || value[2].len < 10
            || ngx_strncmp(value[2].data, "base_url=", 9) != 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in "
                               "\"cycles_authority\": the one there is, "
                               "\"base_url=URL\", names a Cycles server in "
                               "the journal and goes with \"@LOCATION\"",
                               &value[2]);
            return NGX_CONF_ERROR;
        }

        clcf->base_url.data = value[2].data + 9;
        clcf->base_url.len = value[2].len - 9;
    }

    if ((value[1].len > 1 && value[1].data[0] == '@')
        || (value[1].len > 7
            && ngx_strncmp(value[1].data, "ledger=", 7) == 0))
    {
        clcf->authority_name = value[1];
        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" in \"cycles_authority\": write "
                       "\"ledger=NAME\" for a ledger declared by "
                       "\"cycles_ledger\", or \"@LOCATION\" for a named "
                       "location that leads to a Cycles server", &value[1]);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_cycles_api_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    ngx_str_t  *value;

    if (clcf->api_key != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    clcf->api_key = ngx_pcalloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (clcf->api_key == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_cycles_secret_value(cf, &value[1], clcf->api_key) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_subject(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    int                        level;
    ngx_str_t                 *value;
    ngx_http_cycles_level_t   *l;
    ngx_http_complex_value_t  *cv;

    value = cf->args->elts;

    level = cycles_level_find(value[1].data, value[1].len);

    if (level == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown level \"%V\" in \"cycles_subject\": write "
                           "one of tenant, workspace, app, workflow, agent, "
                           "toolset; for any other key use "
                           "\"cycles_dimension\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (clcf->levels == NULL) {
        clcf->levels = ngx_pcalloc(cf->pool,
                           CYCLES_LEVELS * sizeof(ngx_http_cycles_level_t *));
        if (clcf->levels == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (clcf->levels[level]) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate level \"%V\" in \"cycles_subject\": "
                           "give it once, a \"map\" can choose its value",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    l = ngx_pcalloc(cf->pool, sizeof(ngx_http_cycles_level_t));
    if (l == NULL) {
        return NGX_CONF_ERROR;
    }

    cv = &l->value;

    if (ngx_http_cycles_complex_value(cf, &value[2], cv) != NGX_OK
        || ngx_http_cycles_level_header(cf, l, &value[2]) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (cv->lengths == NULL
        && !cycles_subject_value_ok(cv->value.data, cv->value.len))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"cycles_subject\": use 1 "
                           "to %d characters of A-Z, a-z, 0-9, \"_\", \".\", "
                           "\"-\"", &value[2], CYCLES_MAX_SUBJECT_VALUE);
        return NGX_CONF_ERROR;
    }

    clcf->levels[level] = l;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_cycles_level_header(ngx_conf_t *cf, ngx_http_cycles_level_t *level,
    ngx_str_t *value)
{
    u_char                      ch;
    ngx_int_t                   index;
    ngx_str_t                   name;
    ngx_uint_t                  i;
    ngx_http_variable_t        *v;
    ngx_http_core_main_conf_t  *cmcf;

    static ngx_str_t  prefix = ngx_string("http_");

    name.len = value->len - 1;
    name.data = value->data + 1;

    if (value->len < 1 + prefix.len + 1 || value->data[0] != '$'
        || ngx_strncmp(name.data, prefix.data, prefix.len) != 0)
    {
        return NGX_OK;
    }

    for (i = 0; i < name.len; i++) {
        ch = name.data[i];

        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9')
              || ch == '_'))
        {
            return NGX_OK;
        }
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    v = cmcf->prefix_variables.elts;

    for (i = 0; i < cmcf->prefix_variables.nelts; i++) {
        if (v[i].name.len == prefix.len
            && ngx_strncmp(v[i].name.data, prefix.data, prefix.len) == 0)
        {
            break;
        }
    }

    if (i == cmcf->prefix_variables.nelts) {
        return NGX_OK;
    }

    index = ngx_http_get_variable_index(cf, &name);

    if (index == NGX_ERROR) {
        return NGX_ERROR;
    }

    level->handler = v[i].get_handler;
    level->index = index;
    level->header.len = name.len - prefix.len;
    level->header.data = name.data + prefix.len;

    return NGX_OK;
}


static char *
ngx_http_cycles_dimension(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    size_t      i;
    u_char      ch;
    ngx_str_t  *value;

    value = cf->args->elts;

    for (i = 0; i < value[1].len; i++) {
        ch = value[1].data[i];

        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9')
              || ch == '_' || ch == '.' || ch == '-'))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid key \"%V\" in \"cycles_dimension\": "
                               "use a-z, 0-9, \"_\", \".\", \"-\"", &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    if (clcf->dimensions != NGX_CONF_UNSET_PTR
        && clcf->dimensions->nelts == CYCLES_MAX_DIMENSIONS)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "too many \"cycles_dimension\" directives: the "
                           "protocol allows %d, remove the others",
                           CYCLES_MAX_DIMENSIONS);
        return NGX_CONF_ERROR;
    }

    return ngx_http_cycles_value_array(cf, cmd, &clcf->dimensions);
}


static char *
ngx_http_cycles_metadata(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    return ngx_http_cycles_value_array(cf, cmd, &clcf->metadata);
}


static char *
ngx_http_cycles_value_array(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_array_t **array)
{
    ngx_str_t                *value;
    ngx_uint_t                i;
    ngx_http_cycles_value_t  *v;

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].len > CYCLES_MAX_SUBJECT_VALUE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid key \"%V\" in \"%V\": use 1 to %d "
                           "characters", &value[1], &cmd->name,
                           CYCLES_MAX_SUBJECT_VALUE);
        return NGX_CONF_ERROR;
    }

    if (*array == NGX_CONF_UNSET_PTR) {
        *array = ngx_array_create(cf->pool, 4,
                                  sizeof(ngx_http_cycles_value_t));
        if (*array == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    v = (*array)->elts;

    for (i = 0; i < (*array)->nelts; i++) {
        if (v[i].key.len == value[1].len
            && ngx_strncmp(v[i].key.data, value[1].data, value[1].len) == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate key \"%V\" in \"%V\": give it once",
                               &value[1], &cmd->name);
            return NGX_CONF_ERROR;
        }
    }

    v = ngx_array_push(*array);
    if (v == NULL) {
        return NGX_CONF_ERROR;
    }

    v->key = value[1];

    if (ngx_http_cycles_complex_value(cf, &value[2], &v->value) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_action(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    ngx_str_t                 *value;
    ngx_uint_t                 i;
    ngx_http_complex_value_t  *cv;

    if (clcf->action != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts - 3 > CYCLES_MAX_ACTION_TAGS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "too many tags in \"cycles_action\": the protocol "
                           "allows %d, remove the others",
                           CYCLES_MAX_ACTION_TAGS);
        return NGX_CONF_ERROR;
    }

    clcf->action = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                    sizeof(ngx_http_complex_value_t));
    if (clcf->action == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {
        cv = ngx_array_push(clcf->action);
        if (cv == NULL) {
            return NGX_CONF_ERROR;
        }

        if (value[i].len == 0) {
            return "has an empty parameter: give a kind and a name, as in "
                   "\"cycles_action llm.completion "
                   "$cycles_provider:$cycles_model\"";
        }

        if (ngx_http_cycles_complex_value(cf, &value[i], cv) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* cmd->post is the word for no amount */

static char *
ngx_http_cycles_estimate(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char *p = conf;

    ngx_str_t                  *value;
    ngx_http_complex_value_t  **cv;

    cv = (ngx_http_complex_value_t **) (p + cmd->offset);

    if (*cv != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, cmd->post) == 0) {
        *cv = NULL;
        return NGX_CONF_OK;
    }

    *cv = ngx_pcalloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (*cv == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_cycles_complex_value(cf, &value[1], *cv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if ((*cv)->lengths == NULL
        && ngx_atoof(value[1].data, value[1].len) == NGX_ERROR)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\": write \"%s\", a "
                           "whole number of the unit, or a variable",
                           &value[1], &cmd->name, (char *) cmd->post);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_actual(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    ngx_str_t  *value;

    if (clcf->actual != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "auto") == 0) {
        clcf->actual = NGX_HTTP_CYCLES_ACTUAL_AUTO;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[1].data, "estimate") == 0) {
        clcf->actual = NGX_HTTP_CYCLES_ACTUAL_ESTIMATE;
        return NGX_CONF_OK;
    }

    clcf->actual = NGX_HTTP_CYCLES_ACTUAL_VALUE;

    clcf->actual_value = ngx_pcalloc(cf->pool,
                                     sizeof(ngx_http_complex_value_t));
    if (clcf->actual_value == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_cycles_complex_value(cf, &value[1], clcf->actual_value)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (clcf->actual_value->lengths == NULL
        && ngx_atoof(value[1].data, value[1].len) == NGX_ERROR)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"cycles_actual\": write "
                           "\"auto\", \"estimate\", a whole number of the "
                           "unit, or a variable", &value[1]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* as ngx_conf_set_enum_slot(), but it says what there is to choose from */

static char *
ngx_http_cycles_enum(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    u_char            choice[NGX_MAX_CONF_ERRSTR], *last;
    ngx_str_t        *value;
    ngx_uint_t       *field, i;
    ngx_conf_enum_t  *e;

    field = (ngx_uint_t *) (p + cmd->offset);

    if (*field != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;
    e = cmd->post;
    last = choice;

    for (i = 0; e[i].name.len; i++) {

        if (e[i].name.len == value[1].len
            && ngx_strcmp(e[i].name.data, value[1].data) == 0)
        {
            *field = e[i].value;
            return NGX_CONF_OK;
        }

        last = ngx_slprintf(last, choice + NGX_MAX_CONF_ERRSTR, "%s%V",
                            i == 0 ? "" : (e[i + 1].name.len ? ", " : " or "),
                            &e[i].name);
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" in \"%V\": write %*s",
                       &value[1], &cmd->name, (size_t) (last - choice),
                       choice);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_cycles_msec(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t                *value;
    ngx_msec_t               *field, msec;
    ngx_http_cycles_range_t  *range;

    field = (ngx_msec_t *) (p + cmd->offset);
    range = cmd->post;

    if (*field != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    msec = ngx_parse_time(&value[1], 0);

    if (msec == (ngx_msec_t) NGX_ERROR
        || msec < range->min || msec > range->max)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\" in \"%V\": give one %s",
                           &value[1], &cmd->name, range->text);
        return NGX_CONF_ERROR;
    }

    *field = msec;

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_retry(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    ngx_int_t    n;
    ngx_str_t   *value, s;
    ngx_msec_t   msec;
    ngx_uint_t   i;

    if (clcf->retry_attempts != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    clcf->retry_attempts = 5;
    clcf->retry_initial = 500;
    clcf->retry_multiplier = 2000;
    clcf->retry_max = 30000;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "attempts=", 9) == 0) {
            n = ngx_atoi(value[i].data + 9, value[i].len - 9);

            if (n == NGX_ERROR || n > 20) {
                goto invalid;
            }

            clcf->retry_attempts = n;
            continue;
        }

        if (ngx_strncmp(value[i].data, "initial=", 8) == 0
            || ngx_strncmp(value[i].data, "max=", 4) == 0)
        {
            s.data = (u_char *) ngx_strchr(value[i].data, '=') + 1;
            s.len = value[i].data + value[i].len - s.data;

            msec = ngx_parse_time(&s, 0);

            if (msec == (ngx_msec_t) NGX_ERROR || msec < 1 || msec > 3600000) {
                goto invalid;
            }

            if (value[i].data[0] == 'i') {
                clcf->retry_initial = msec;

            } else {
                clcf->retry_max = msec;
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "multiplier=", 11) == 0) {
            s.data = value[i].data + 11;
            s.len = value[i].len - 11;

            n = ngx_http_cycles_thousandths(&s);

            if (n < 1000 || n > 10000) {
                goto invalid;
            }

            clcf->retry_multiplier = n;
            continue;
        }

        goto invalid;
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\" in \"cycles_retry\": there "
                       "are attempts=0-20, initial=1ms-1h, multiplier=1-10 "
                       "and max=1ms-1h", &value[i]);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_cycles_provider(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    int          provider;
    u_char      *p, known[1024];
    ngx_str_t   *value;
    ngx_uint_t   i;

    if (clcf->provider != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "auto") == 0) {
        clcf->provider = LLM_PROVIDER_AUTO;
        return NGX_CONF_OK;
    }

    provider = llm_provider_find(value[1].data, value[1].len);

    if (provider == -1) {
        p = known;

        for (i = 0; i < LLM_PROVIDERS; i++) {
            p = ngx_slprintf(p, known + sizeof(known), ", \"%s\"",
                             llm_provider_name((llm_provider_t) i));
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown provider \"%V\" in \"cycles_provider\": "
                           "write one of \"auto\"%*s", &value[1],
                           (size_t) (p - known), known);
        return NGX_CONF_ERROR;
    }

    clcf->provider = provider;

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_unknown_price(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    ngx_str_t  *value;

    if (clcf->unknown_price != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "deny") == 0) {
        clcf->unknown_price = NGX_HTTP_CYCLES_PRICE_DENY;

    } else if (ngx_strcmp(value[1].data, "allow") == 0) {
        clcf->unknown_price = NGX_HTTP_CYCLES_PRICE_ALLOW;

    } else if (value[1].len == 0) {
        return "is empty: write \"deny\", \"allow\", or the model whose "
               "price is taken";

    } else {
        clcf->unknown_price = NGX_HTTP_CYCLES_PRICE_MODEL;
        clcf->unknown_price_model = value[1];
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_max_output_tokens(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    ngx_str_t  *value;

    if (clcf->max_output_tokens != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    clcf->max_output_tokens = ngx_atoi(value[1].data, value[1].len);

    if (clcf->max_output_tokens < 1
        || clcf->max_output_tokens > 100000000)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in "
                           "\"cycles_max_output_tokens\": give a number from 1 "
                           "to 100000000", &value[1]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_estimate_margin(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    ngx_int_t   n;
    ngx_str_t  *value;

    if (clcf->estimate_margin != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    n = ngx_http_cycles_thousandths(&value[1]);

    if (n < 1000 || n > 10000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in "
                           "\"cycles_estimate_margin\": give a factor from 1 "
                           "to 10, as in 1.25", &value[1]);
        return NGX_CONF_ERROR;
    }

    clcf->estimate_margin = n;

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_deny_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    ngx_int_t   n;
    ngx_str_t  *value;

    if (clcf->deny_status != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "auto") == 0) {
        clcf->deny_status = NGX_HTTP_CYCLES_DENY_STATUS_AUTO;
        return NGX_CONF_OK;
    }

    n = ngx_atoi(value[1].data, value[1].len);

    /* SDKs retry 408, 409 and 5xx: a denial must not look like one of them */

    if (n < 400 || n > 499 || n == 408 || n == 409 || n == 444 || n == 499) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"cycles_deny_status\": "
                           "write \"auto\" or a status from 400 to 499 that "
                           "SDKs do not retry, such as 429, 402 or 403 (not "
                           "408, 409)", &value[1]);
        return NGX_CONF_ERROR;
    }

    clcf->deny_status = n;

    return NGX_CONF_OK;
}


/* a decimal like 1.25 in 1/1000; NGX_ERROR if it is not one */

static ngx_int_t
ngx_http_cycles_thousandths(ngx_str_t *value)
{
    int64_t  n;

    n = llm_decimal((char *) value->data, value->len, 3);

    if (n < 0 || n > 1000000000) {
        return NGX_ERROR;
    }

    return (ngx_int_t) n;
}


static void *
ngx_http_cycles_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_cycles_main_conf_t  *cmcf;

    cmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_cycles_main_conf_t));
    if (cmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&cmcf->price_tables, cf->pool, 2,
                       sizeof(ngx_http_cycles_price_table_t))
        != NGX_OK)
    {
        return NULL;
    }

    if (ngx_array_init(&cmcf->authorities, cf->pool, 4,
                       sizeof(ngx_http_cycles_authority_use_t))
        != NGX_OK)
    {
        return NULL;
    }

    return cmcf;
}


static void *
ngx_http_cycles_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_cycles_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_cycles_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->authority_name = { 0, NULL };
     *     conf->base_url = { 0, NULL };
     *     conf->authority = NULL;
     *     conf->levels = NULL;
     *     conf->actual_value = NULL;
     *     conf->price_table = { 0, NULL };
     *     conf->price_region = { 0, NULL };
     *     conf->prices = NULL;
     *     conf->unknown_price_model = { 0, NULL };
     */

    conf->mode = NGX_CONF_UNSET_UINT;
    conf->api_key = NGX_CONF_UNSET_PTR;
    conf->dimensions = NGX_CONF_UNSET_PTR;
    conf->action = NGX_CONF_UNSET_PTR;
    conf->metadata = NGX_CONF_UNSET_PTR;
    conf->idempotency_key = NULL;
    conf->unit = NGX_CONF_UNSET_UINT;
    conf->estimate = NGX_CONF_UNSET_PTR;
    conf->max_estimate = NGX_CONF_UNSET_PTR;
    conf->actual = NGX_CONF_UNSET_UINT;
    conf->ttl = NGX_CONF_UNSET_MSEC;
    conf->grace_period = NGX_CONF_UNSET_MSEC;
    conf->overage_policy = NGX_CONF_UNSET_UINT;
    conf->timeout = NGX_CONF_UNSET_MSEC;
    conf->connect_timeout = NGX_CONF_UNSET_MSEC;
    conf->retry_attempts = NGX_CONF_UNSET_UINT;
    conf->apply_caps = NGX_CONF_UNSET;
    conf->signed_requests = NGX_CONF_UNSET_UINT;
    conf->trust = NGX_CONF_UNSET_PTR;
    conf->breaker.failures = NGX_CONF_UNSET_UINT;
    conf->on_outage = NGX_CONF_UNSET_UINT;
    conf->on_abort = NGX_CONF_UNSET_UINT;
    conf->on_missing_usage = NGX_CONF_UNSET_UINT;
    conf->drain_timeout = NGX_CONF_UNSET_MSEC;
    conf->drain_size = NGX_CONF_UNSET_SIZE;
    conf->drain_number = NGX_CONF_UNSET_UINT;
    conf->provider = NGX_CONF_UNSET_UINT;
    conf->websocket = NGX_CONF_UNSET_UINT;
    conf->prices_set = NGX_CONF_UNSET_PTR;
    conf->aliases = NGX_CONF_UNSET_PTR;
    conf->unknown_price = NGX_CONF_UNSET_UINT;
    conf->max_output_tokens = NGX_CONF_UNSET;
    conf->estimate_margin = NGX_CONF_UNSET_UINT;
    conf->stream_usage = NGX_CONF_UNSET;
    conf->stream_cutoff = NGX_CONF_UNSET;
    conf->deny_status = NGX_CONF_UNSET_UINT;
    conf->deny_message = NULL;
    conf->deny_format = NGX_CONF_UNSET_UINT;
    conf->response_headers = NGX_CONF_UNSET_UINT;

    return conf;
}


static char *
ngx_http_cycles_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_cycles_loc_conf_t *prev = parent;
    ngx_http_cycles_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    ngx_conf_merge_uint_value(conf->mode, prev->mode, NGX_HTTP_CYCLES_OFF);
    if (conf->authority_name.data == NULL) {
        conf->base_url = prev->base_url;
    }

    ngx_conf_merge_str_value(conf->authority_name, prev->authority_name, "");
    ngx_conf_merge_str_value(conf->price_region, prev->price_region, "");
    ngx_conf_merge_ptr_value(conf->api_key, prev->api_key, NULL);

    if (conf->levels == NULL) {
        conf->levels = prev->levels;
    }

    ngx_conf_merge_ptr_value(conf->dimensions, prev->dimensions, NULL);
    ngx_conf_merge_ptr_value(conf->action, prev->action, NULL);
    ngx_conf_merge_ptr_value(conf->metadata, prev->metadata, NULL);

    if (conf->idempotency_key == NULL) {
        conf->idempotency_key = prev->idempotency_key;
    }

    ngx_conf_merge_uint_value(conf->unit, prev->unit, CYCLES_USD_MICROCENTS);
    ngx_conf_merge_ptr_value(conf->estimate, prev->estimate, NULL);
    ngx_conf_merge_ptr_value(conf->max_estimate, prev->max_estimate, NULL);

    if (conf->actual == NGX_CONF_UNSET_UINT) {
        conf->actual_value = prev->actual_value;
    }

    ngx_conf_merge_uint_value(conf->actual, prev->actual,
                              NGX_HTTP_CYCLES_ACTUAL_AUTO);

    ngx_conf_merge_msec_value(conf->ttl, prev->ttl, 60000);
    ngx_conf_merge_msec_value(conf->grace_period, prev->grace_period, 5000);
    ngx_conf_merge_uint_value(conf->overage_policy, prev->overage_policy,
                              CYCLES_ALLOW_IF_AVAILABLE);
    ngx_conf_merge_msec_value(conf->timeout, prev->timeout, 7000);

    /* by default 2s, or all of "cycles_timeout" where that is shorter */

    ngx_conf_merge_msec_value(conf->connect_timeout, prev->connect_timeout,
                              NGX_CONF_UNSET_MSEC);

    if (conf->retry_attempts == NGX_CONF_UNSET_UINT) {
        conf->retry_initial = prev->retry_initial ? prev->retry_initial : 500;
        conf->retry_multiplier = prev->retry_multiplier
                                 ? prev->retry_multiplier : 2000;
        conf->retry_max = prev->retry_max ? prev->retry_max : 30000;
    }

    ngx_conf_merge_uint_value(conf->retry_attempts, prev->retry_attempts, 5);
    ngx_conf_merge_value(conf->apply_caps, prev->apply_caps, 1);
    ngx_conf_merge_uint_value(conf->signed_requests, prev->signed_requests,
                              NGX_HTTP_CYCLES_SIGNED_DENY);
    ngx_conf_merge_ptr_value(conf->trust, prev->trust, NULL);

    if (conf->breaker.failures == NGX_CONF_UNSET_UINT) {
        conf->breaker = prev->breaker;
    }

    if (conf->breaker.failures == NGX_CONF_UNSET_UINT) {
        ngx_http_cycles_breaker_default(&conf->breaker);
    }

    ngx_conf_merge_uint_value(conf->on_outage, prev->on_outage,
                              NGX_HTTP_CYCLES_OUTAGE_DENY);
    ngx_conf_merge_uint_value(conf->on_abort, prev->on_abort,
                              NGX_HTTP_CYCLES_ABORT_DRAIN);
    ngx_conf_merge_uint_value(conf->on_missing_usage, prev->on_missing_usage,
                              NGX_HTTP_CYCLES_MISSING_ESTIMATE);
    ngx_conf_merge_msec_value(conf->drain_timeout, prev->drain_timeout,
                              300000);
    ngx_conf_merge_size_value(conf->drain_size, prev->drain_size,
                              64 * 1024 * 1024);
    ngx_conf_merge_uint_value(conf->drain_number, prev->drain_number, 128);

    ngx_conf_merge_uint_value(conf->provider, prev->provider,
                              LLM_PROVIDER_AUTO);
    ngx_conf_merge_value(conf->max_output_tokens, prev->max_output_tokens,
                         4096);
    ngx_conf_merge_uint_value(conf->estimate_margin, prev->estimate_margin,
                              1250);
    ngx_conf_merge_value(conf->stream_usage, prev->stream_usage, 1);
    ngx_conf_merge_value(conf->stream_cutoff, prev->stream_cutoff, 0);

    if (conf->unknown_price == NGX_CONF_UNSET_UINT) {
        conf->unknown_price_model = prev->unknown_price_model;
    }

    ngx_conf_merge_uint_value(conf->unknown_price, prev->unknown_price,
                              NGX_HTTP_CYCLES_PRICE_DENY);

    ngx_conf_merge_uint_value(conf->websocket, prev->websocket,
                              NGX_HTTP_CYCLES_WEBSOCKET_DENY);
    ngx_conf_merge_uint_value(conf->deny_status, prev->deny_status,
                              NGX_HTTP_TOO_MANY_REQUESTS);

    if (conf->deny_message == NULL) {
        conf->deny_message = prev->deny_message;
    }

    ngx_conf_merge_uint_value(conf->deny_format, prev->deny_format,
                              NGX_HTTP_CYCLES_DENY_FORMAT_AUTO);
    ngx_conf_merge_uint_value(conf->response_headers, prev->response_headers,
                              NGX_HTTP_CYCLES_HEADERS_ON);

    if (ngx_http_cycles_merge_prices(cf, prev, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    /* a server's own level may be completed by its locations */

    if (conf->mode == NGX_HTTP_CYCLES_OFF || clcf->name.len == 0) {
        return NGX_CONF_OK;
    }

    if (ngx_http_cycles_merge_authority(cf, conf) != NGX_CONF_OK
        || ngx_http_cycles_merge_learning(cf, conf) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    return ngx_http_cycles_check_loc_conf(cf, conf);
}


static char *
ngx_http_cycles_merge_authority(ngx_conf_t *cf,
    ngx_http_cycles_loc_conf_t *conf)
{
    ngx_str_t                         name;
    ngx_http_core_srv_conf_t         *cscf;
    ngx_http_cycles_authority_t      *authority;
    ngx_http_cycles_main_conf_t      *cmcf;
    ngx_http_cycles_authority_use_t  *use;

    if (conf->authority_name.len == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"cycles\" is on, but there is no authority: add "
                      "\"cycles_authority ledger=NAME;\" and a "
                      "\"cycles_ledger\", or \"cycles_authority @LOCATION;\"");
        return NGX_CONF_ERROR;
    }

    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    authority = ngx_pcalloc(cf->pool, sizeof(ngx_http_cycles_authority_t));
    if (authority == NULL) {
        return NGX_CONF_ERROR;
    }

    authority->name = conf->authority_name;
    authority->conf_ctx = cscf->ctx;

    conf->authority = authority;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cycles_module);
    cmcf->counts = 1;

    if (conf->authority_name.data[0] == '@') {
        authority->ops = &ngx_http_cycles_client_ops;
        authority->data = ngx_http_cycles_merge_server(cf, conf);
        authority->remote = 1;

        if (authority->data == NULL) {
            return NGX_CONF_ERROR;
        }

        use = ngx_array_push(&cmcf->authorities);
        if (use == NULL) {
            return NGX_CONF_ERROR;
        }

        use->authority = authority;
        use->server = cscf;

        return NGX_CONF_OK;
    }

    name.data = conf->authority_name.data + sizeof("ledger=") - 1;
    name.len = conf->authority_name.len - (sizeof("ledger=") - 1);

    authority->ops = &ngx_http_cycles_ledger_ops;
    authority->data = ngx_http_cycles_ledger_find(cf, &name);

    if (authority->data == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"cycles_authority %V\" names a ledger that is not "
                      "there: add \"cycles_ledger %V path=DIR;\" to the http "
                      "block", &conf->authority_name, &name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* what others have left is settled as the first of its locations would */

static ngx_http_cycles_server_t *
ngx_http_cycles_merge_server(ngx_conf_t *cf, ngx_http_cycles_loc_conf_t *conf)
{
    ngx_http_cycles_server_t  *server;

    server = ngx_http_cycles_client_server(cf, &conf->authority_name,
                                           conf->authority->conf_ctx,
                                           &conf->base_url);

    if (server == NULL || server->used) {
        return server;
    }

    server->used = 1;

    ngx_http_cycles_call_conf(conf, &server->call);

    server->breaker_conf = conf->breaker;

    if (conf->api_key) {
        server->api_key = conf->api_key->value;
        server->dynamic_key = (conf->api_key->lengths != NULL);
    }

    return server;
}


static char *
ngx_http_cycles_check_loc_conf(ngx_conf_t *cf, ngx_http_cycles_loc_conf_t *conf)
{
    size_t      len;
    ngx_uint_t  automatic;

    if (conf->levels == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"cycles\" is on, but nothing says whose budget it is: "
                      "add at least one \"cycles_subject\", as in "
                      "\"cycles_subject tenant $http_x_tenant;\"");
        return NGX_CONF_ERROR;
    }

    automatic = (conf->estimate == NULL
                 || conf->actual == NGX_HTTP_CYCLES_ACTUAL_AUTO);

    if (automatic && conf->unit == CYCLES_USD_MICROCENTS
        && conf->prices == NULL)
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"cycles\" is on, but nothing has a price: add "
                      "\"cycles_price_table FILE;\" or \"cycles_price\", or "
                      "set both \"cycles_estimate\" and \"cycles_actual\"");
        return NGX_CONF_ERROR;
    }

    if (automatic
        && (conf->unit == CYCLES_CREDITS || conf->unit == CYCLES_RISK_POINTS))
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"cycles_unit %s\" can't be derived from a request: "
                      "set \"cycles_estimate\" to a number or a variable, and "
                      "\"cycles_actual\" to \"estimate\" or a variable",
                      cycles_unit_name(conf->unit));
        return NGX_CONF_ERROR;
    }

    if (conf->unknown_price == NGX_HTTP_CYCLES_PRICE_MODEL
        && conf->unit == CYCLES_USD_MICROCENTS)
    {
        len = conf->unknown_price_model.len;

        if (conf->prices == NULL
            || llm_prices_find_named(conf->prices,
                                     conf->unknown_price_model.data, len,
                                     NULL)
               == NULL)
        {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"cycles_unknown_price %V\" names a model that has "
                          "no price itself: name one of the price table, or "
                          "write \"deny\" or \"allow\"",
                          &conf->unknown_price_model);
            return NGX_CONF_ERROR;
        }
    }

    if (conf->connect_timeout != NGX_CONF_UNSET_MSEC
        && conf->connect_timeout > conf->timeout)
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"cycles_connect_timeout\" %M ms is longer than "
                      "\"cycles_timeout\" %M ms, which bounds a call as a "
                      "whole: make it shorter",
                      conf->connect_timeout, conf->timeout);
        return NGX_CONF_ERROR;
    }

    /* the heartbeat needs two attempts and a margin before the lease ends */

    if (conf->authority->remote
        && 2 * ngx_max(conf->timeout, 1000) + 1000 >= conf->ttl)
    {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"cycles_ttl\" %M ms leaves no time for a heartbeat: "
                      "a reply that takes longer loses its reservation; make "
                      "it more than twice \"cycles_timeout\" plus 1s",
                      conf->ttl);
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_cycles_preconfiguration(ngx_conf_t *cf)
{
    return ngx_http_cycles_add_variables(cf);
}


static ngx_int_t
ngx_http_cycles_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt          *h;
    ngx_http_core_main_conf_t    *cmcf;
    ngx_http_cycles_main_conf_t  *mcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cycles_module);

    /*
     * After access and auth modules, whose results a subject may come from,
     * and out of the reach of "satisfy any".
     */

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_cycles_handler;

    ngx_http_cycles_find_proxy(cf);

    if (mcf->counts && ngx_http_cycles_zone_count(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_cycles_check_authorities(cf);
}


static ngx_int_t
ngx_http_cycles_check_authorities(ngx_conf_t *cf)
{
    ngx_str_t                         *name;
    ngx_uint_t                         i;
    ngx_http_core_loc_conf_t         **clcfp;
    ngx_http_cycles_main_conf_t       *cmcf;
    ngx_http_cycles_authority_use_t   *use;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cycles_module);

    use = cmcf->authorities.elts;

    for (i = 0; i < cmcf->authorities.nelts; i++) {

        name = &use[i].authority->name;
        clcfp = use[i].server->named_locations;

        for ( /* void */ ; clcfp && *clcfp; clcfp++) {

            if ((*clcfp)->name.len == name->len
                && ngx_strncmp((*clcfp)->name.data, name->data, name->len)
                   == 0)
            {
                break;
            }
        }

        if (clcfp == NULL || *clcfp == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"cycles_authority %V\" names a location that is "
                          "not in server \"%V\": add \"location %V { "
                          "proxy_pass http://CYCLES_SERVER; }\" to it",
                          name, &use[i].server->server_name, name);
            return NGX_ERROR;
        }

        if ((*clcfp)->handler == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "location \"%V\" of \"cycles_authority\" does not "
                          "lead to a Cycles server: "
                          "add \"proxy_pass http://CYCLES_SERVER;\" to it",
                          name);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
