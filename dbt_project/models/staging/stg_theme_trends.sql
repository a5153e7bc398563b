with

source as (

    select * from {{ source('lake', 'theme_trends') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        theme_id,

        ---------- text
        name,
        status,
        movement,

        ---------- numerics
        n_tickets,
        n_all,
        share,
        share_low,
        share_high,
        expected,
        ratio,
        p_value,
        q_value,

        ---------- booleans
        is_new,

        ---------- dates
        cycle

    from source

)

select * from renamed
