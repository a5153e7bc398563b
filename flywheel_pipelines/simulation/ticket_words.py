"""The words of the simulated tickets: forty themes of an online shop with an app, and what stands around them.

Not here: who writes how many of them and when (`tickets`). The texts are simulated, and say so wherever they show.
"""

THEMES: dict[str, str] = {
    "password reset": "password reset link forgot expired locked account signin credentials mailbox token attempts",
    "two-factor codes": "verification code authenticator sms twofactor signin prompt device digits resend seconds",
    "account deletion": "delete account close profile erase data request permanently deactivate remove privacy confirm",
    "wrong address": "address street apartment postcode changed old house relocation edit moved district mailbox",
    "late delivery": "delivery late parcel waiting days courier promised arrive delayed schedule tracking warehouse",
    "lost parcel": "parcel lost missing never arrived courier tracking stuck depot investigation neighbour vanished",
    "damaged goods": "damaged broken box crushed scratched glass cracked arrived packaging torn dented shattered",
    "wrong item": "wrong item colour size received instead ordered different mixup swapped label another product",
    "refund delay": "refund waiting money back bank processed returned pending weeks credited promised amount",
    "double charge": "charged twice double payment statement duplicate bank card amount reversed transaction billing",
    "card declined": "card declined payment error checkout issuer rejected visa limit attempts transaction bank",
    "invoice request": "invoice vat receipt tax document company accounting pdf number copy billing resend",
    "voucher invalid": "voucher coupon code discount invalid expired basket promotion apply rejected redeem campaign",
    "gift card balance": "giftcard balance redeem credit birthday present remaining activate scratch serial voucher",
    "subscription cancel": "subscription cancel renewal membership monthly charged stop plan autorenew premium ending",
    "price change": "price increase higher yesterday changed basket expensive match guarantee difference cheaper offer",
    "app crashes": "app crash opens closes freeze startup update android iphone reinstall version screen restart",
    "slow website": "website slow loading pages timeout browser spinner minutes speed lag hang refresh",
    "search results": "search results irrelevant filter find sorting query keywords category listing relevance brands",
    "push notifications": "notification push alerts sound disable settings phone repeated badge silent night reminder",
    "newsletter unsubscribe": "newsletter unsubscribe mailing spam marketing list daily inbox stop preferences optout",
    "return label": "return label print parcel printer qr dropoff shop sticker shipping form generate",
    "return window": "return window deadline thirty days expired exchange policy late extend period holiday",
    "warranty claim": "warranty repair claim defect manufacturer years guarantee serial technician replace faulty",
    "assembly instructions": "assembly instructions manual screws missing diagram bolts shelf build parts step tools",
    "missing parts": "missing parts screw bag hardware incomplete kit accessories cable remote charger included",
    "size chart": "size chart small large fit measurements sleeve waist inches centimetres tight runs",
    "stock availability": "stock available restock soldout inventory preorder waitlist notify shelf quantity backorder",
    "store hours": "store hours open closing sunday branch location holiday city parking counter entrance",
    "pickup point": "pickup locker point collect pin station kiosk code opening counter depot collected",
    "customs fee": "customs duty import fee border clearance declaration abroad tax country shipment paperwork",
    "loyalty points": "loyalty points rewards tier bonus earned missing gold status collected program expire",
    "review moderation": "review rejected moderation stars comment published guidelines rating deleted photo opinion",
    "chat agent rude": "agent rude chat conversation hung support unhelpful attitude complaint manager ignored tone",
    "phone queue": "phone queue hold music hotline waiting call minutes callback line operator answered",
    "language settings": "language settings german english translation region switch locale menu currency wrong french",
    "dark mode": "dark mode contrast theme colours eyes readable background font white brightness accessibility",
    "battery drain": "battery drain overnight charge hours hot device percent idle power standby warm",
    "bluetooth pairing": "bluetooth pairing headphones connect device disconnects sound earbuds speaker signal",
    "firmware update": "firmware update router failed version bricked installation device reboot led blinking flash",
}
"""Name of a theme: words of it. Neighbours share some, as they do in life."""

FRAMES = (
    "{opening} {a} {b} {c}. {middle} {d} {e}{end}",
    "{opening} the {a} {b} {middle} {c} {d}{end}",
    "{a} {b} {middle} {c}, and {d} {e} too{end}",
    "{opening} {a} and {b}. {c} {middle} {d} {e} {f}{end}",
)
OPENINGS = (
    "Hello, I have a question about", "Hi team,", "Good morning, this is about", "Third time I write about",
    "Please help with", "I am very unhappy with", "Since last week", "Could somebody look at", "Once again:", "Hey,",
)  # fmt: skip
MIDDLES = (
    "I cannot get anywhere with", "it says", "nobody tells me why", "we still have", "I tried everything with",
    "there is a problem with", "my wife asks about", "it keeps on with", "I do not understand", "again and again",
)  # fmt: skip
ENDS = (".", "!", " please.", ", thanks.", "?", " as soon as possible.", ", which is ridiculous.", " or I leave.")
CHATTER = (
    "thanks", "great", "weather", "team", "hello", "friend", "football", "lovely", "greetings", "question", "maybe",
    "someone", "weekend", "music", "congratulations", "happy", "coffee", "job", "career", "partnership", "interview",
    "press", "school", "project", "survey", "blog", "sponsor", "charity", "event", "invitation", "newspaper", "thesis",
    "opinion", "idea", "suggestion", "compliment", "birthday", "garden", "journey", "summer", "recipe", "photo", "song",
)  # fmt: skip
"""What tickets without a theme are about: anything."""
