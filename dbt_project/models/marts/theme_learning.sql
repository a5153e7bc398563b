{{ config(meta={'by_cycle': true}) }}

with

learning as (

    select * from {{ ref('stg_theme_learning') }}

),

with_library as (

    select * from learning
    where arm = 'flywheel'

),

without_library as (

    select * from learning
    where arm = 'control'

),

final as (

    select

        ---------- ids
        with_library.flywheel,
        with_library.cycle,
        with_library.is_synthetic,

        ---------- what it took
        with_library.n_tickets,
        with_library.n_by_library,
        with_library.n_unknown,
        with_library.n_new,
        with_library.tokens,
        with_library.n_by_library / nullif(with_library.n_tickets, 0) as share_by_library,
        with_library.tokens / nullif(with_library.n_tickets, 0) as tokens_per_ticket,

        ---------- what it would have taken without a library
        without_library.n_new as control_n_new,
        without_library.tokens / nullif(without_library.n_tickets, 0) as control_tokens_per_ticket,

        ---------- what people made of the new themes
        with_library.n_accepted,
        with_library.n_merged,
        with_library.n_rejected,
        with_library.n_accepted
        / nullif(with_library.n_accepted + with_library.n_merged + with_library.n_rejected, 0) as acceptance_rate

    from with_library
    left join without_library
        on with_library.flywheel = without_library.flywheel and with_library.cycle = without_library.cycle

)

select * from final
order by flywheel, cycle
