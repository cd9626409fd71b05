"""The names of classes in published datasets.

Plain tables, loaded only for labels that are not codes of HAM10000; ``lesionedge.terms`` reads
them. Sources: HAM10000 (doi:10.1038/sdata.2018.161), the ISIC challenges of 2016 to 2020,
BCN20000 (doi:10.1038/s41597-024-03387-w), PAD-UFES-20 (doi:10.1016/j.dib.2020.106221), derm7pt
(doi:10.1109/JBHI.2018.2824327), PH2 (doi:10.1109/EMBC.2013.6610779), MILK10k
(challenge.isic-archive.com/landing/milk10k), Fitzpatrick 17k (arXiv:2104.09957) and the ISIC
archive's ``diagnosis_1`` to ``diagnosis_5``.
"""

from __future__ import annotations

CLASSES = """
mel         + Melanoma | malignant
bcc         + Basal cell carcinoma | malignant
akiec       + Actinic keratosis / intraepithelial carcinoma | ak malignant
ak          + Actinic keratosis | akiec malignant
bod         + Bowen's disease | akiec scc sccka malignant
scc         + Squamous cell carcinoma | sccka malignant
ka          + Keratoacanthoma | sccka scc malignant
sccka       + Squamous cell carcinoma / keratoacanthoma | scc malignant
mal_oth     + Other malignant lesion | malignant
malignant   + Malignant |
nv          - Melanocytic nevus | benign
bkl         - Benign keratosis-like lesion | benign
sk          - Seborrheic keratosis | bkl benign
pbk         - Pigmented benign keratosis | bkl benign
sl          - Solar lentigo | bkl benign
lt          - Lentigo | bkl benign
lplk        - Lichen planus-like keratosis | bkl benign
df          - Dermatofibroma | benign
vasc        - Vascular lesion | benign
ben_oth     - Other benign lesion | benign
inf         - Inflammatory or infectious condition | benign
benign      - Benign |
normal      - Normal skin |
ind         ? Indeterminate |
unk         ? Unknown |
"""
"""Code, whether malignant (+ yes, - no, ? unknown), name, and the codes of the classes that
it is a part of in published datasets, the narrowest first (ISIC 2019 calls HAM10000's akiec AK)."""

ABBREVIATIONS = """
mel: mm | lm lmm ssm
bod: sccis
akiec: iec
ak: ack
sccka: scc/ka
mal_oth: | mcc dfsp afx ctcl
malignant: mal | nmsc
nv: nev | bln cn cbn cgn dn rn rsn
sk: sek
lplk: blk lk
vasc: vl vas
ben_oth: | mls
benign: ben
ind: | aimp meltump
unk: oth | misc
"""
"""Code: abbreviations of the class, besides the code itself | of kinds within it."""

TERMS = """
mel
    melanoma; malignant melanoma; malignant melanocytic proliferation melanoma; malignant
    melanocytic proliferation; malignant melanocytic tumor; melanocytic malignant | melanoma in
    situ; melanoma invasive; melanoma metastasis; metastatic melanoma; lentigo maligna; lentigo
    maligna melanoma; melanotic freckle of hutchinson; malignant blue nevus; melanoma invasive
    blue nevus like; melanoma invasive resembling blue nevus; melanoma invasive originating from
    blue nevus; melanoma in situ associated with a nevus; melanoma invasive associated with a
    nevus; melanoma invasive arising in a congenital nevus; melanoma invasive pigmented spindle
    cell nevus like; melanoma invasive heavily pigmented resembling epithelioid blue nevus or
    melanoma developing in animals; melanoma invasive on chronically sun exposed skin or lentigo
    maligna melanoma; melanoma ex nevo; melanoma ex nevus; melanosarcoma

bcc
    basal cell carcinoma; basal cell cancer; basalioma; basal cell epithelioma; rodent ulcer;
    =basal cell | pinkus tumor; fibroepithelioma of pinkus; basal cell carcinoma fibroeipthelial;
    basal cell carcinoma with adnexal differentiation

akiec
    actinic keratosis intraepithelial carcinoma; actinic keratosis and intraepithelial carcinoma;
    actinic keratosis intraepidermal carcinoma; actinic keratosis bowen disease

ak
    actinic keratosis; solar keratosis; solar or actinic keratosis; keratosis actinica; keratosis
    solaris; senile keratosis | actinic keratosis bowenoid; bowenoid actinic keratosis; pagetoid
    actinic keratosis

bod
    bowen disease; bowen; squamous cell carcinoma in situ; scc in situ; in situ scc;
    intraepithelial carcinoma; intraepidermal carcinoma; intraepidermal squamous cell carcinoma;
    in situ carcinoma bowen;
    squamous cell carcinoma in situ bowen disease; bowen carcinoma | erythroplasia of queyrat

scc
    squamous cell carcinoma; squamous cell cancer; squamous carcinoma; spinocellular carcinoma;
    spinalioma; epidermoid carcinoma; epidermoid cancer; =squamous cell | squamous cell carcinoma
    invasive; squamous cell carcinoma invasive keratoacanthoma type; verrucous carcinoma;
    verrucous carcinoma carcinoma cuniculatum type; carcinoma cuniculatum; verrucous carcinoma
    giant condyloma type; verrucous carcinoma oral florid papilomatosis type

ka
    keratoacanthoma

sccka
    squamous cell carcinoma keratoacanthoma; squamous cell carcinoma and keratoacanthoma; squamous
    cell carcinoma or keratoacanthoma

mal_oth
    malignant other; other malignant; other malignant proliferation; other malignant lesion; other
    malignant proliferation including collision tumor; malignant other skin cancer; collision at
    least one malignant proliferation | merkel cell carcinoma; merkel cell proliferation; merkel
    cell tumor; merkel cell cancer; kaposi sarcoma; kaposis sarcoma; kaposi; angiosarcoma;
    angiosarcoma cutaneous; hemangioendothelioma; hemangioendothelioma kaposiform; malignant
    glomus tumor; angiosarcoma cutaneous with associated lymphedema; angiosarcoma cutaneous post
    irradiation; dermatofibrosarcoma protuberans; dermatofibrosarcoma; atypical fibroxanthoma;
    epithelioid sarcoma; fibrosarcoma; pleomorphic undifferntiated sarcoma; liposarcoma;
    liposarcoma undifferentiated; leiomyosarcoma; leiomyosarcoma cutaneous; rhabdomyosarcoma;
    rhabdomyoscaroma cutaneous; myoepithelial sarcoma; extraskeletal osteosarcoma; osteosarcoma;
    ewing sarcoma primary cutaenous; ewing sarcoma; carcinosarcoma; atypical intradermal smooth
    muscle tumor; malignant granular cell tumor; malignant peripheral nerve sheath tumor;
    malignant soft tissue proliferation unknown or other histiogenesis; skin metastasis of
    internal solid cancer non hematological; cutaneous metastasis; paget disease; paget disease
    mammary; paget disease extra mammary; extramammary paget disease; sebaceous carcinoma; adenoid
    cystic carcinoma; apocrine carcinoma; eccrine carcinoma; adnexal adenocarcinoma arising in
    association with spiradenoma cylindroma or spiradenocylindroma; digital papillary carcinoma;
    hidradenocarcinoma; malignant mixed tumor; microcystic adnexal carcinoma; mucinous carcinoma;
    porocarcinoma; tubular carcinoma; baso squamous carcinoma; basosquamous carcinoma; matrical or
    pilomatrical carcinoma; pilomatrical carcinoma; proliferating trichilemmal carcinoma; bowenoid
    papulosis; mycosis fungoides; sezary syndrome; cutaneous t cell lymphoma; cutaneous b cell
    lymphoma; cutaneous lymphoma; lymphomatoid papulosis; lymphocytic proliferation b cell;
    lymphocytic proliferation t cell nk; lymphocytic proliferation b cell other; ebv positive
    mucocutaneous ulcer; chronic active ebv infection; intravascular large b cell lymphoma;
    primary cutaneous follicle center lymphoma; primary cutaneous large b cell lymphoma; primary
    cutaneous marginal zone lymphoma; adult t cell leukemia or lymphoma; extranodal t cell nk
    lymphoma; extranodal t cell nk lymphoma nasal type; primary cutaneous cd30 lymphoproliferative
    disease; primary cutaneous cd4 small or medium t cell lymphoproliferative disorder; primary
    cutaneous peripheral t cell lymphoma; primary cutaneous peripheral t cell lymphoma rare
    subtype; subcutaneous panniculitis like t cell lymphoma; mycosis fungoides granulomatous slack
    skin; mycosis fungoides pagetoid reticulosis; mycosis fungoides with large cell
    transformation; cutanous anaplastic large cell lymphoma; anaplastic large cell lymphoma;
    malignant cutaneous lymphoma

malignant
    malignant; malignancy; cancer; cancerous; skin cancer; malignant neoplasm; malignant lesion;
    malignant tumor; cancer positive | maligna; carcinoma; adenocarcinoma; sarcoma; lymphoma;
    leukemia; metastasis; metastatic; non melanoma skin cancer; nonmelanoma skin cancer; non
    melanoma cancer; keratinocyte cancer; keratinocyte carcinoma; keratinocytic cancer; non
    melanocytic malignant; nonmelanocytic malignant; malignant non melanocytic; malignant
    nonmelanocytic

nv
    nevus; melanocytic nevus; nevocellular nevus; nevus cell nevus; mole; benign mole; benign
    nevus; benign melanocytic proliferation; benign melanocytic lesion; benign melanocytic; benign
    melanocyte; melanocytic benign | common nevus; atypical nevus; dysplastic nevus; clark nevus;
    atypical mole; dysplastic mole; atypical melanocytic nevus; nevus atypical dysplastic or
    clark; nevus atypical; nevus dysplastic; spitz nevus; reed nevus; reed or spitz nevus; spitz
    reed nevus; spindle cell nevus; pigmented spindle cell nevus; blue nevus; halo nevus; sutton
    nevus; nevus spilus; mongolian spot; nevus of ito; nevus of ota; dermal melanocytosis;
    proliferative nodule in congenital melanocytic nevi without atypia; nevus congenital by
    history; nevus congenital by histopathological pattern; nevus congenital by history and
    histopathological pattern; nevus bap 1 deficient; nevus of special anatomic site; special site
    nevus; nevus recurrent or persistent; nevus deep penetrating; deep penetrating nevus; meyerson
    nevus; nanta nevus; unna nevus; miescher nevus

bkl
    benign keratosis; benign keratosis like lesion; benign keratosis like; benign keratinocytic
    lesion; benign keratoid lesion; benign epidermal proliferation; benign epidermal; benign
    keratinocytic; keratosis like lesion; benign keratinocyte lesion | clear cell acanthoma; ink
    spot lentigo; large cell acanthoma

sk
    seborrheic keratosis; keratosis seborrheic; seborrheic wart; seborrheic verruca; senile wart;
    verruca seborrhoica; basal cell papilloma | melanoacanthoma; dermatosis papulosa nigra; stucco
    keratosis

pbk
    pigmented benign keratosis; benign pigmented keratosis

sl
    solar lentigo; actinic lentigo; senile lentigo; lentigo solaris; lentigo senilis; age spot;
    liver spot

lt
    lentigo; lentigo nos | lentigo simplex; simple lentigo

lplk
    lichen planus like keratosis; lichenoid keratosis; benign lichenoid keratosis; keratosis
    lichenoid

df
    dermatofibroma; fibrous histiocytoma; benign fibrous histiocytoma; histiocytoma |
    dermatofibroma atypical

vasc
    vascular lesion; vascular tumor; =vascular; vascular skin lesion; benign vascular lesion;
    vascular lesion and hemorrhage; pyogenic granuloma and hemorrhage; benign soft tissue
    proliferation vascular | angioma; hemangioma; angiokeratoma; pyogenic granuloma; hemorrhage;
    lymphangioma; cherry angioma; spider angioma; spider nevus; vascular spider; stellate angioma;
    nevus flammeus; port wine stain; nevus araneus; hematoma; subungual hematoma; hemorrhagic
    lesion; dermal and subcutaneous hemorhage; mucosal hemorrhage; subcorneal and intracorneal
    hemorrhage; subungual hemorrhage; telangiectasia; venous lake; venous malformation; verrucous
    hemangioma; vascular malformation; other vascular or lymphatic malformation or hamartoma;
    arterio venous malformation; arteriovenous malformation; capillary vascular malformation;
    capillary malformation; acquired elastotic hemangioma; glomeruloid hemangioma; noninvoluting
    congenital hemangioma; rapidly involuting congenital hemangioma; angiolymphoid hyperplasia
    with eosinophilia; acroangiodermatitis of mali; nevus anemicus; glomangiomyoma; glomus tumor;
    glomangioma; granuloma pyogenicum; lobular capillary hemangioma; strawberry nevus; vascular
    nevus; talon noir; lymphatic malformation; lymphangioma superficial; lymphangioma deep; blood
    blister

ben_oth
    benign other; other benign; other benign proliferation; other benign lesion; other benign
    proliferation including collision tumor; collision only benign proliferation | exogenous;
    foreign body granuloma; foreign body; tattoo; cyst; comedo; digital mucous cyst; dilated pore;
    infundibular or epidermal cyst; epidermal cyst; epidermoid cyst; sebaceous cyst; keratinous
    cyst; milium; steatocystoma; hydrocystoma; trichilemmal cyst; pilar cyst; trichilemmal or
    isthmic catagen or pilar cyst; isthmic catagen cyst; infundibular sebaceous; epidermal
    sebaceous; infundibular keratinous; epidermal keratinous; infundibular cyst; flat melanotic
    pigmentation not melanocytic nevus; cafe au lait macule; cafe au lait spot; cafe au lait
    macule or patch; cafe au lait; ephelis; freckle; melanosis; mucosal melanosis; mucosal
    melanotic macule; melanotic macule; labial melanotic macule; becker nevus; birthmark;
    lentiginous melanocytic proliferation; pigmented epithelioid melanocytoma; apocrine tubular
    adenoma; cylindroma; cylindoma; cystadenoma; fibroadenoma; hidradenoma papilliferum;
    hidradenoma apocrine; hidradenoma; mixed tumor; chondroid syringoma; hidradenoma apocrine
    predominantly with clear cells; hidradenoma poroid; mixed tumor apocrine type; mixed tumor
    eccrine type; poroma; spiradenoma; supernumerary nipple; accessory nipple; syringocystadenoma
    papilliferum; syringofibroadenoma; syringocystadenoma; syringoma; folliculosebaceous cystic
    hamartoma; nevus comedonicus; panfolliculoma; pilar sheath acanthoma; pilomatricoma;
    pilomatrixoma; proliferating tricholemmal tumor; trichoblastoma; trichoepithelioma;
    trichofolliculoma; tricholemmoma; trichilemmoma; tumor of follicular infundibulum; warty
    dyskeratoma; fibrofolliculoma; fordyce spot; nevus sebaceus; nevus sebaceous; sebaceous nevus;
    organoid nevus; sebaceoma; sebaceous adenoma; sebaceous hyperplasia; trichodiscoma;
    acantholytic acanthoma; epidermal nevus; epidermolytic acanthoma; acanthoma; adnexal tumor
    benign; angiolipoma; fibrolipoma; lipoma; lipoma spindle cell; lipoma pleomorphic; lipomatous
    nevus; nevus lipomatosus; accessory tragus; extraskeletal chondroma; chondroma; osteoma cutis;
    subungual osteochodroma; osteochondroma; angiofibroma; fibrous papule; angiofibroma or fibrous
    papule; fibroepithelial polyp; acrochordon; skin tag; fibroma; fibroma molle; soft fibroma;
    fibroma pleomorphic; giant cell tumor of the tendon sheath; juvenile xanthogranuloma;
    xanthogranuloma; cutaneous myxoma; myxoma; non langerhans histiocytosis;
    reticulohistiocytosis; rosai dorfman disease; scar; keloid; hypertrophic scar; scar keloid;
    angioleiomyoma; dartoic muscle leiomyoma; leiomyoma; dermatomyofibroma; nodular fasciitis;
    piloleiomyoma; smooth muscle hamartoma; myoepithelioma; granular cell tumor; granular cell
    tumor neural and s100 positive; granular cell tumor non neural and s100 negative; nerve sheath
    myxoma; neurofibroma; plexiform neurofibroma; neuroma; neuroma palisaded and encapsulated;
    neuroma traumatic; perineurioma; schwannoma; erdheim chester disease; indeterminate cell
    histiocytosis; langerhans cell proliferation; langerhans cell histiocytosis; langerhans cell
    histiocytosis diffuse or multifocal; langerhans cell histiocytosis solitary or unifocal; mixed
    langerhans cell histiocytosis and erdheim chester disease; mast cell proliferation;
    maculopapular mastocytoma; mastocytoma; mastocytoma solitary or unifocal; mastocytosis;
    mastocytosis diffuse or multifocal; mastocytosis diffuse cutaenous; telangiectasia macularis
    eruptiva perstans; xanthoma; xanthelasma; callus; corn; clavus; benign adnexal tumor; benign
    non melanocytic; benign nonmelanocytic; non melanocytic benign; nonmelanocytic benign

inf
    inflammatory or infectious disease; inflammatory and infectious condition; inflammatory;
    inflammatory disease; inflammation; infection; infectious; infectious disease; non neoplastic;
    nonneoplastic | verruca; verruca vulgaris; verruca plana; wart; viral wart; common wart;
    plantar wart; condyloma; condyloma acuminatum; genital wart; molluscum; molluscum contagiosum;
    porokeratosis; dsap; psoriasis; eczema; dermatitis; atopic dermatitis; contact dermatitis;
    seborrheic dermatitis; acne; acne vulgaris; rosacea; urticaria; hive; lichen planus; lichen
    simplex chronicus; lichen sclerosus; tinea; ringworm; candidiasis; fungal infection; impetigo;
    cellulitis; herpes; herpes simplex; herpes zoster; shingles; chickenpox; measles; monkeypox;
    mpox; cowpox; smallpox; hand foot and mouth disease; hfmd; scabies; vitiligo; alopecia;
    alopecia areata; pityriasis rosea; pityriasis versicolor; tinea versicolor; folliculitis;
    granuloma annulare; darier disease; grover disease; prurigo nodularis; insect bite; bacterial
    infection; viral infection; genodermatosis; hidradenitis suppurativa; keratosis pilaris; lupus
    erythematosus; lupus; drug eruption; exanthem; bullous disease; nail fungus; onychomycosis;
    chondrodermatitis nodularis; chondrodermatitis nodularis helicis

benign
    benign; non malignant; nonmalignant; not malignant; no malignancy; without malignancy; non
    cancer; noncancer; non cancerous; noncancerous; not cancer; not cancerous; no cancer; no skin
    cancer; non skin cancer; not skin cancer; cancer free; cancer negative; benign tumor; benign
    neoplasm; benign lesion

normal
    normal; normal skin; healthy; healthy skin; no lesion; no disease; clear skin; without lesion

ind
    indeterminate | indeterminate epidermal proliferation; indeterminate melanocytic
    proliferation; solar or actinic cheilitis; actinic cheilitis; solar cheilitis; atypical spitz
    tumor; atypical spitz nevus; atypical intraepithelial melanocytic proliferation; atypical
    melanocytic neoplasm; atypical melanocytic proliferation; atypical pigmented spindle cell
    tumor; atypical proliferative nodules in congenital melanocytic nevus; melanocytic tumor of
    uncertain malignant potential; superficial atypical melanocytic proliferation of uncertain
    significance

unk
    unknown; other; miscellaneous; none of the others; none of the above
"""
"""Code, names of the class in datasets, papers and clinics | kinds within it. Case, punctuation,
plurals, British spelling and the order around a comma do not matter here. A term with ``=`` counts
only if it is the whole label."""

GENERIC = """
a an the of in on at by to from with and or et type subtype variant form pattern class category
group skin cutaneous lesion tumor neoplasm neoplastic growth proliferation disease condition
diagnosis dx image photo picture related dermoscopy dermoscopic dermatoscopic clinical
histopathology nos unspecified cell
"""
"""Words that say nothing about a lesion."""

QUALIFIERS = """
subcutaneous neoplasia common banal typical usual simple classic ordinary primary secondary early
advanced thin thick less more than between mm cm level stage grade ii iii iv well moderately poorly
heavily differentiated undifferentiated differentiation solitary multiple single diffuse multifocal
unifocal large small giant medium superficial deep spreading nodular invasive situ acral
lentiginous desmoplastic mucosal nevoid spitzoid neurotropic amelanotic pigmented hypopigmented
depigmented recurrent persistent ulcerated ulcerative sclerosing sclerotic morpheaform morpheiform
infiltrating infiltrative micronodular macronodular cystic adenoid fibroepithelial adnexal
epithelial sarcomatoid combined mixed cellular epithelioid epidermal dermal intradermal junctional
compound congenital acquired blue halo clark reed spitz meyerson spilus agminated balloon plaque
hemosiderotic aneurysmal lipidized clonal irritated inflamed reticulated reticular verrucous
acanthotic hyperkeratotic hypertrophic atrophic lichenoid acantholytic bowenoid pagetoid clear
spindle adeno squamous keratinizing keratinocytic melanocytic melanotic soft tissue adipocytic
cartilagenous cartilaginous ossifying fibro histiocytic fibrohistiocytic muscle myofibroblastic
myoepithelial neural apocrine eccrine follicular sebaceous histiogenesis vascular cherry senile
infantile hobnail tufted facial penile periungual subungual palmar plantar volar nail head neck face
scalp trunk back arm leg hand foot genital oral lip ear nose elderly patient folliculotropic
granulomatous pleomorphic traumatic regressing regressed metastasizing eruptive papular macular flat
raised elevated keratotic
"""
"""Words that describe a lesion further without changing its class."""
