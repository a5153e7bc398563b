-- An answer is paid for once: a key that was answered is never asked again. A warning and not an error, because the
-- ledger keeps what happened: two runs that raced for the same key paid twice, and hiding the marts would not undo it.
{{ config(severity='warn') }}

select
    flywheel,
    request_key,
    count(*) as n_answers
from {{ ref('stg_llm_requests') }}
where status = 'answered'
group by 1, 2
having count(*) > 1
