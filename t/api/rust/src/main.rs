// Copyright (C) nginx-cycles authors
//
//     sdk SCENARIO BASE_URL API_KEY
//
// does one thing with the crate "runcycles" and prints what came of it as one
// JSON object; test_sdk_rust.py compares it with the balances.

use std::time::Duration;

use runcycles::models::*;
use runcycles::{with_cycles, CyclesClient, Error, WithCyclesConfig};
use serde_json::{json, Value};

type Outcome = Result<Value, Error>;

fn usd(amount: i64) -> Amount {
    Amount::usd_microcents(amount)
}

fn subject() -> Subject {
    Subject {
        tenant: Some("acme".into()),
        app: Some("chat".into()),
        ..Default::default()
    }
}

fn action() -> Action {
    Action::new("llm.completion", "openai:gpt-4o-mini")
}

fn reserve(amount: i64) -> ReservationCreateRequest {
    ReservationCreateRequest::builder()
        .subject(subject())
        .action(action())
        .estimate(usd(amount))
        .build()
}

fn commit(amount: i64) -> CommitRequest {
    CommitRequest::builder().actual(usd(amount)).build()
}

/// The name of the variant and what it says, for the errors of an operation.
fn error<T>(result: Result<T, Error>) -> Value {
    let e = match result {
        Ok(_) => return json!("no error"),
        Err(e) => e,
    };
    let kind = match &e {
        Error::BudgetExceeded { .. } => "BudgetExceeded",
        Error::Api { .. } => "Api",
        _ => "other",
    };
    json!({
        "kind": kind,
        "status": e.status(),
        "code": e.error_code(),
        "retryable": e.is_retryable(),
        "has_request_id": e.request_id().is_some(),
        "text": e.to_string(),
    })
}

async fn balance(client: &CyclesClient) -> Result<Balance, Error> {
    let params = BalanceParams {
        tenant: Some("acme".into()),
        ..Default::default()
    };
    Ok(client.get_balances(&params).await?.balances.remove(0))
}

async fn life(client: CyclesClient) -> Outcome {
    let made = client.create_reservation(&reserve(100)).await?;
    let id = made.reservation_id.clone().expect("an id");
    let extended = client
        .extend_reservation(&id, &ExtendRequest::new(1000))
        .await?;
    let live = client.get_reservation(&id).await?;
    let committed = client.commit_reservation(&id, &commit(60)).await?;
    let done = client.get_reservation(&id).await?;

    let other = client.create_reservation(&reserve(50)).await?;
    let released = client
        .release_reservation(
            &other.reservation_id.expect("an id"),
            &ReleaseRequest::new(Some("changed its mind".into())),
        )
        .await?;

    let decision = client
        .decide(
            &DecisionRequest::builder()
                .subject(subject())
                .action(action())
                .estimate(usd(941))
                .build(),
        )
        .await?;
    let event = client
        .create_event(
            &EventCreateRequest::builder()
                .subject(subject())
                .action(action())
                .actual(usd(40))
                .client_time_ms(1)
                .build(),
        )
        .await?;

    let mut dry = reserve(901);
    dry.dry_run = true;
    let dry = client.create_reservation(&dry).await?;

    let params = ListReservationsParams {
        status: Some("RELEASED".into()),
        app: Some("chat".into()),
        limit: Some(1),
        ..Default::default()
    };
    let listed = client.list_reservations(&params).await?;

    Ok(json!({
        "listed": listed.reservations[0].status,
        "more": listed.has_more,
        "decision": made.decision,
        "remaining_ttl_ms": made.remaining_ttl_ms,
        "extended_by": extended.expires_at_ms - made.expires_at_ms.unwrap(),
        "live": live.status,
        "charged": committed.charged.amount,
        "returned": committed.released.map(|a| a.amount),
        "done": done.status,
        "committed": done.committed.map(|a| a.amount),
        "released": released.released.amount,
        "decided": [json!(decision.decision), json!(decision.reason_code)],
        "applied": event.status,
        "dry": [json!(dry.decision), json!(dry.reason_code)],
        "dry_id": dry.reservation_id,
        "remaining": balance(&client).await?.remaining.amount,
    }))
}

async fn errors(client: CyclesClient) -> Outcome {
    let denied = error(client.reserve(reserve(1001)).await);
    let nobody = ReservationId::new("nobody");
    let missing = error(client.get_reservation(&nobody).await);

    let mut tokens = reserve(1);
    tokens.estimate = Amount::tokens(1);
    let unit = error(client.create_reservation(&tokens).await);

    let mut same = reserve(1);
    let id = client.create_reservation(&same).await?.reservation_id.unwrap();
    same.estimate = usd(2);
    let mismatch = error(client.create_reservation(&same).await);

    client.release_reservation(&id, &ReleaseRequest::new(None)).await?;
    let finalized = error(
        client.extend_reservation(&id, &ExtendRequest::new(1)).await,
    );

    let mut short = reserve(1);
    short.ttl_ms = 1000;
    short.grace_period_ms = Some(0);
    let id = client.create_reservation(&short).await?.reservation_id.unwrap();
    let expired = loop {
        let result = client.get_reservation(&id).await;
        if result.is_err() {
            break error(result);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };

    let stranger = CyclesClient::builder("wrong", &client.config().base_url)
        .tenant("acme")
        .journal_enabled(false)
        .build();
    let unauthorized = error(stranger.create_reservation(&reserve(1)).await);

    Ok(json!({
        "denied": denied, "missing": missing, "unit": unit,
        "mismatch": mismatch, "finalized": finalized, "expired": expired,
        "unauthorized": unauthorized,
    }))
}

async fn guards(client: CyclesClient) -> Outcome {
    let guard = client.reserve(reserve(100)).await?;
    guard.extend(1000).await?;
    let scopes = guard.affected_scopes().to_vec();
    let charged = guard.commit(commit(70)).await?.charged.amount;

    let guard = client.reserve(reserve(100)).await?;
    let released = guard.release("not needed").await?.released.amount;

    // one that is dropped releases by itself

    drop(client.reserve(reserve(100)).await?);

    while balance(&client).await?.reserved.is_none_or(|a| a.amount > 0) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let config = || {
        WithCyclesConfig::new(usd(100))
            .action("llm.completion", "x")
            .subject(subject())
    };
    let value = with_cycles(&client, config(), |ctx| async move {
        Ok((ctx.affected_scopes.len(), usd(20)))
    })
    .await?;
    let failed = error(
        with_cycles(&client, config(), |_| async move {
            Err::<((), Amount), _>("no".into())
        })
        .await,
    );

    let mut capped = reserve(1);
    capped.subject.app = Some("capped".into());
    let guard = client.reserve(capped).await?;
    let caps = guard.caps().cloned();
    guard.release("done").await?;

    Ok(json!({
        "scopes": scopes, "charged": charged, "released": released,
        "value": value, "failed": failed,
        "max_tokens": caps.and_then(|c| c.max_tokens),
    }))
}

/// A commit that comes after the end of the lease: the crate sends an event.
async fn late(client: CyclesClient) -> Outcome {
    let mut short = reserve(100);
    short.ttl_ms = 1000;
    short.grace_period_ms = Some(0);
    let guard = client.reserve(short).await?;
    let id = guard.reservation_id().clone();

    while client.get_reservation(&id).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let done = guard.commit(commit(30)).await?;

    Ok(json!({
        "charged": done.charged.amount,
        "event": done.recovered_via_event.is_some(),
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let client = CyclesClient::builder(&args[3], &args[2])
        .tenant("acme")
        .read_timeout(Duration::from_secs(60))
        .journal_enabled(false)
        .build();

    let outcome = match args[1].as_str() {
        "life" => life(client).await,
        "errors" => errors(client).await,
        "guards" => guards(client).await,
        "late" => late(client).await,
        other => panic!("no scenario {other}"),
    };

    println!("{}", outcome.expect("the scenario"));
}
