with

effects as (

    select * from {{ ref('stg_fix_effects') }}

),

library as (

    select * from {{ ref('stg_theme_library') }}

),

learning as (

    select * from {{ ref('stg_theme_learning') }}
    where arm = 'flywheel'

),

final as (

    select

        ---------- ids
        effects.flywheel,
        effects.cycle,
        effects.fix_id,
        effects.theme_id,
        learning.is_synthetic,

        ---------- what shipped
        effects.what,
        effects.shipped_on,
        effects.theme as named_theme,
        library.name as theme,

        ---------- what it did, as known in the cycle
        effects.verdict,
        effects.ratio,
        effects.low,
        effects.high,
        effects.reason,
        max(effects.cycle) over (partition by effects.flywheel, effects.fix_id) = effects.cycle as is_latest,

        ---------- what that rests on
        effects.n_before,
        effects.n_after,
        effects.n_controls,
        effects.cycles_after

    from effects
    left join library
        on
            effects.flywheel = library.flywheel
            and effects.cycle = library.cycle
            and effects.theme_id = library.theme_id
    left join learning on effects.flywheel = learning.flywheel and effects.cycle = learning.cycle

)

select * from final
order by flywheel, cycle, fix_id
