"""Word lists shared by stories, lists, tool calls and unknown things; plus invented words."""

from __future__ import annotations

from random import Random


def listed(text: str) -> list[str]:
    """The parts between bars, or the words where there is no bar."""
    return text.split("|" if "|" in text else None)


FIRST_NAMES = listed(
    "Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Mia Noah Olga Paul Rosa Sam "
    "Tina "
    "Victor Wendy Yara Zoe Alice Bob Carol Dan Eva Frank Gina Hugo Iris Jonas Karl Lena Max Nina "
    "Otto "
    "Petra Ruth Simon Tom Uma Vera Will Lisa Mark Nora Oscar Julia Amir Priya Wei Yuki Omar Fatima "
    "Ravi Chen Maria Pedro Ivan Sofia Ali Mary John Peter Sara Tim Laura"
)

ANIMALS = listed(
    "fox owl cat dog bear mouse horse goat duck frog hare wolf crow hen sheep lion tiger swan crab "
    "snail whale seal otter badger beaver robin sparrow deer donkey pig cow bee ant turtle squirrel"
)

FRUITS = listed(
    "apple pear plum cherry banana orange lemon grape peach mango melon kiwi fig apricot "
    "strawberry "
    "raspberry blueberry pineapple coconut lime"
)

COLOURS = listed(
    "red blue green yellow orange purple pink brown black white grey violet turquoise gold silver"
)

VEGETABLES = listed(
    "carrot potato tomato onion pea bean cabbage spinach leek pumpkin cucumber garlic broccoli "
    "radish celery pepper lettuce beetroot"
)

CITIES = listed(
    "Paris|London|Berlin|Rome|Madrid|Vienna|Tokyo|Oslo|Cairo|Lima|Delhi|Boston|Chicago|Sydney|"
    "Toronto|"
    "Dublin|Lisbon|Prague|Warsaw|Athens|Moscow|Beijing|Seoul|Nairobi|Havana|Hamburg|Munich|Milan|"
    "Zurich|Geneva|Stockholm|Helsinki|Copenhagen|Brussels|Amsterdam|Istanbul|Mumbai|Bangkok|"
    "Singapore|"
    "Dallas|Denver|Seattle|Miami|Austin|Quito|Bogota|Santiago|Lagos|Accra|Tunis|Riga|Porto|Lyon|"
    "Kyiv|"
    "New York|San Francisco|Los Angeles|Buenos Aires|Cape Town|Hong Kong|Tel Aviv|Mexico City"
)

COUNTRIES = listed(
    "France Germany Italy Spain Portugal Austria Norway Sweden Finland Denmark Poland Greece "
    "Turkey "
    "Egypt Kenya Nigeria Ghana Morocco India China Japan Korea Vietnam Thailand Australia Canada "
    "Mexico Brazil Chile Peru Argentina Russia Ukraine Ireland Iceland Belgium Switzerland Hungary "
    "Romania Israel Iran Iraq Cuba America England Scotland Indonesia Malaysia Nepal"
)

TOPICS = listed(
    "gravity|photosynthesis|the French Revolution|football|chess|tennis|cooking|democracy|"
    "evolution|an atom|"
    "a black hole|the moon|the sun|Mars|Einstein|Shakespeare|Mozart|Napoleon|Picasso|a volcano|"
    "an earthquake|"
    "climate change|inflation|the stock market|Bitcoin|quantum mechanics|DNA|a virus|cancer|"
    "a headache|vitamin C|"
    "the human heart|bread|pizza|cheese|coffee|tea|wine|beer|sushi|yoga|love|happiness|death|"
    "religion|God|music|jazz|"
    "the guitar|the piano|Linux|Windows|Java|Rust|JavaScript|Docker|Kubernetes|a database|SQL|"
    "blockchain|a compiler|"
    "Facebook|Google|Amazon|Netflix|the internet|the weather|a rainbow|snow|the ocean|a river|"
    "a mountain|a desert|"
    "a car|a train|an airplane|a bicycle|a rocket|electricity|magnetism|a laser|a battery|"
    "philosophy|Plato|Kant|"
    "psychology|history|geography|biology|chemistry|physics|geometry|algebra|calculus|a triangle|"
    "pi|a prime number|"
    "the president|the king|the queen|the parliament|the election|a law|taxes|money|a bank|"
    "insurance|a mortgage|"
    "the Bible|Buddhism|Islam|Christmas|Easter|the Olympics|the World Cup|basketball|golf|"
    "swimming|Harry Potter|"
    "Star Wars|a dinosaur|a dragon|a unicorn|a ghost|the brain|sleep|a dream|memory|fever|"
    "diabetes|a vaccine|"
    "World War 2|the Cold War|the Roman Empire|ancient Greece|the Renaissance|a poem|a novel|"
    "a sonnet|opera|ballet|"
    "machine learning|a neural network|a transformer|deep learning|backpropagation|a robot|GPT|"
    "a phone|a camera|"
    "television|a radio|a clock|a bridge|architecture|fashion|a haircut|shoes|gardening|a rose|"
    "a tree|a forest|bees|"
    "a recipe|soup|chocolate|sugar|salt|water|oxygen|gold|iron|carbon|uranium|a crystal|plastic|"
    "glass|concrete|"
    "marriage|friendship|school|university|a job|an interview|a contract|a lawyer|a doctor|"
    "a nurse|a teacher|a pilot"
)

_ONSETS = listed(
    "b c d f g h j k l m n p r s t v w z bl br ch cl dr fl gr kr pl pr qu sh sk sl sn sp st tr th"
)
_VOWELS = listed("a e i o u ai ea ee oo ou")
_CODAS = ["", "", "", *listed("n r s t l m k p d x ng st nd ck")]


def invented(rng: Random) -> str:
    """A word that does not exist, so that no list of topics can be learned by heart."""
    parts = rng.choice((1, 2, 2, 2, 3, 3))
    sounds = (_ONSETS, _VOWELS, _CODAS)
    return "".join(rng.choice(sound) for _ in range(parts) for sound in sounds)
