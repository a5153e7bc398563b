with

source as (

    select * from {{ source('lake', 'briefs') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        brief_id,

        ---------- text
        segment,
        title,
        locale,
        fields,

        ---------- numerics
        n_candidates,

        ---------- dates
        cycle

    from source

)

select * from renamed
