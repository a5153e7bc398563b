with

source as (

    select * from {{ source('lake', 'theme_candidates') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        theme_id,
        parent_id,
        request_key,

        ---------- text
        name,
        summary,
        quotes,
        quoted_ids,
        member_ids,

        ---------- numerics
        n_refused,
        coherence,

        ---------- dates
        cycle

    from source

)

select * from renamed
