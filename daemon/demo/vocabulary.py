"""The words of Italian tax and labour law that the demonstration's documents are made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """A field of law: what it is about, the norm that rules it, who must act, and its terms."""

    subject: str
    norm: str
    who: str
    terms: tuple[str, ...]


def _topic(subject: str, norm: str, who: str, terms: str) -> Topic:
    return Topic(subject, norm, who, tuple(term.strip() for term in terms.split(",")))


TOPICS: tuple[Topic, ...] = (
    _topic(
        "l'imposta sul valore aggiunto",
        "D.P.R. 26 ottobre 1972, n. 633",
        "i soggetti passivi IVA",
        "aliquota ordinaria, detrazione, volume d'affari, inversione contabile, pro rata, plafond, rimborso",
    ),
    _topic(
        "la fatturazione elettronica",
        "D.Lgs. 5 agosto 2015, n. 127",
        "i cedenti e prestatori",
        "Sistema di Interscambio, codice destinatario, nota di variazione, conservazione sostitutiva, bollo virtuale",
    ),
    _topic(
        "l'imposta sul reddito delle persone fisiche",
        "D.P.R. 22 dicembre 1986, n. 917",
        "i contribuenti residenti",
        "scaglioni di reddito, detrazioni per lavoro dipendente, addizionale regionale, oneri deducibili",
    ),
    _topic(
        "il regime forfettario",
        "L. 23 dicembre 2014, n. 190",
        "le persone fisiche esercenti attività d'impresa",
        "coefficiente di redditività, imposta sostitutiva, causa ostativa, soglia dei ricavi, contributi ridotti",
    ),
    _topic(
        "l'imposta municipale propria",
        "L. 27 dicembre 2019, n. 160",
        "i possessori di immobili",
        "rendita catastale, abitazione principale, area fabbricabile, acconto e saldo, delibera comunale",
    ),
    _topic(
        "la tassa sui rifiuti",
        "L. 27 dicembre 2013, n. 147",
        "gli occupanti dei locali",
        "quota fissa, quota variabile, superficie tassabile, tariffa puntuale, riduzione per compostaggio",
    ),
    _topic(
        "la contribuzione previdenziale",
        "L. 8 agosto 1995, n. 335",
        "gli iscritti alla Gestione separata",
        "aliquota contributiva, massimale, minimale, ricongiunzione, totalizzazione, estratto conto contributivo",
    ),
    _topic(
        "il trattamento di fine rapporto",
        "art. 2120 del codice civile",
        "i datori di lavoro privati",
        "quota annua, rivalutazione, anticipazione, fondo di tesoreria, previdenza complementare, tassazione separata",
    ),
    _topic(
        "i contratti collettivi del terziario",
        "CCNL Terziario, Distribuzione e Servizi",
        "le imprese del commercio",
        "inquadramento, scatti di anzianità, quattordicesima mensilità, banca ore, permessi retribuiti, preavviso",
    ),
    _topic(
        "il lavoro a tempo determinato",
        "D.Lgs. 15 giugno 2015, n. 81",
        "i datori di lavoro",
        "causale, proroga, rinnovo, limite quantitativo, diritto di precedenza, contributo addizionale",
    ),
    _topic(
        "il ravvedimento operoso",
        "art. 13 del D.Lgs. 18 dicembre 1997, n. 472",
        "i contribuenti che regolarizzano",
        "sanzione ridotta, interessi legali, violazione formale, dichiarazione tardiva, versamento omesso",
    ),
    _topic(
        "il contenzioso tributario",
        "D.Lgs. 31 dicembre 1992, n. 546",
        "le parti del giudizio",
        "ricorso, Corte di giustizia tributaria, sospensione cautelare, conciliazione, spese di lite",
    ),
    _topic(
        "l'accertamento con adesione",
        "D.Lgs. 19 giugno 1997, n. 218",
        "i destinatari dell'avviso",
        "contraddittorio preventivo, invito a comparire, definizione agevolata, rateazione, riduzione a un terzo",
    ),
    _topic(
        "le agevolazioni edilizie",
        "D.L. 19 maggio 2020, n. 34",
        "i condomìni e i proprietari",
        "cessione del credito, asseverazione, visto di conformità, riqualificazione energetica, bonifico parlante",
    ),
    _topic(
        "l'imposta di registro",
        "D.P.R. 26 aprile 1986, n. 131",
        "le parti contraenti",
        "prezzo-valore, agevolazione prima casa, atto pubblico, misura fissa, registrazione telematica, caparra",
    ),
    _topic(
        "le successioni e donazioni",
        "D.Lgs. 31 ottobre 1990, n. 346",
        "gli eredi e i legatari",
        "franchigia, coacervo, voltura catastale, dichiarazione di successione, patto di famiglia, quota di legittima",
    ),
    _topic(
        "il bilancio d'esercizio",
        "artt. 2423 e seguenti del codice civile",
        "gli amministratori",
        "nota integrativa, principio di competenza, ammortamento, costo ammortizzato, rendiconto finanziario, deposito",
    ),
    _topic(
        "l'imposta sul reddito delle società",
        "artt. 72 e seguenti del TUIR",
        "le società di capitali",
        "base imponibile, interessi passivi, perdite pregresse, consolidato fiscale, trasparenza, riporto",
    ),
    _topic(
        "l'antiriciclaggio",
        "D.Lgs. 21 novembre 2007, n. 231",
        "i professionisti obbligati",
        "adeguata verifica, titolare effettivo, segnalazione di operazione sospetta, conservazione",
    ),
    _topic(
        "la protezione dei dati personali",
        "Regolamento (UE) 2016/679",
        "i titolari del trattamento",
        "base giuridica, registro dei trattamenti, valutazione d'impatto, violazione dei dati, minimizzazione",
    ),
    _topic(
        "le start-up innovative",
        "D.L. 18 ottobre 2012, n. 179",
        "le imprese iscritte alla sezione speciale",
        "requisiti, work for equity, detrazione per investitori, equity crowdfunding, spese in ricerca e sviluppo",
    ),
    _topic(
        "i crediti d'imposta per investimenti",
        "L. 30 dicembre 2020, n. 178",
        "le imprese beneficiarie",
        "beni strumentali, interconnessione, perizia asseverata, compensazione, comunicazione preventiva, cumulo",
    ),
    _topic(
        "le accise e i diritti doganali",
        "D.Lgs. 26 ottobre 1995, n. 504",
        "i depositari autorizzati",
        "circolazione in sospensione, obbligazione doganale, valore in dogana, origine preferenziale, cauzione",
    ),
    _topic(
        "la sicurezza nei luoghi di lavoro",
        "D.Lgs. 9 aprile 2008, n. 81",
        "i datori di lavoro e i dirigenti",
        "valutazione dei rischi, sorveglianza sanitaria, formazione, dispositivi di protezione, medico competente",
    ),
)

SOURCES: tuple[tuple[str, str], ...] = (
    ("Agenzia delle Entrate", "agenziaentrate.example"),
    ("INPS", "inps.example"),
    ("Gazzetta Ufficiale", "gazzettaufficiale.example"),
    ("Ministero del Lavoro", "lavoro.example"),
    ("Corte di Cassazione", "cortedicassazione.example"),
    ("Ispettorato Nazionale del Lavoro", "ispettorato.example"),
)

KINDS: tuple[str, ...] = ("Circolare", "Risoluzione", "Risposta a interpello", "Provvedimento", "Messaggio", "Sentenza")

# slots where an Italian article cannot collide with a preposition: terms carry none, subjects and people carry theirs
SENTENCES: tuple[str, ...] = (
    "Per quanto concerne {subject}, l'articolo {article} del {norm} prevede che {who} indichino la voce «{term}».",
    "In materia di {term}, {who} possono avvalersi della facoltà prevista dal comma {day}, purché entro il {year}.",
    "La disciplina del {norm} opera altresì in presenza di {other}, nei limiti di {amount} euro per periodo d'imposta.",
    "Ne consegue che la spettanza di {term} è esclusa qualora {who} abbiano già fruito di {other}.",
    "Il termine per l'adempimento scade il giorno {day} del mese successivo; oltre tale data si applica la sanzione.",
    "Per quanto riguarda {subject}, rileva che la voce «{term}» sia documentata con modalità tracciabili.",
    "Secondo l'orientamento più recente, la voce «{other}» è presupposto necessario, e non meramente eventuale.",
    "Si ritiene pertanto che l'importo di {amount} euro concorra alla determinazione di {term} per l'anno {year}.",
    "Resta fermo l'obbligo di conservare per dieci anni la documentazione in tema di {term} e di {other}.",
    "Le modalità operative concernenti {subject} sono state già illustrate con la circolare n. {day} del {year}.",
    "In caso di omissione {who} subiscono una sanzione amministrativa di {amount} euro, salvo regolarizzazione.",
    "È esclusa, in ogni caso, la cumulabilità tra «{term}» e «{other}» quando si superi la soglia di {amount} euro.",
)

QUESTIONS: tuple[str, ...] = (
    "Buongiorno, un mio cliente chiede un chiarimento in tema di {term} per l'anno {year}: può aiutarmi?",
    "Qual è la scadenza in materia di {term}, e quale sanzione si applica in caso di ritardo?",
    "È possibile cumulare «{term}» con «{other}» se l'importo è di {amount} euro?",
    "Mi servirebbe il riferimento normativo aggiornato concernente {subject}.",
)

FIRST_NAMES = (
    *("Giulia", "Marco", "Francesca", "Luca", "Chiara", "Alessandro", "Sara"),
    *("Matteo", "Elena", "Davide", "Anna", "Simone", "Paola", "Niccolò"),
)
LAST_NAMES = (
    *("Rossi", "Russo", "Ferrari", "Esposito", "Bianchi", "Romano", "Colombo", "Ricci"),
    *("Marino", "Greco", "Bruno", "Gallo", "Conti", "De Luca", "D'Angelo", "Nicolò"),
)
STREETS = ("via Roma", "corso Garibaldi", "via Dante Alighieri", "piazza della Libertà", "viale Forlì", "via Mazzini")
CITIES = (
    "20121 Milano",
    "00185 Roma",
    "80133 Napoli",
    "10121 Torino",
    "40121 Bologna",
    "50122 Firenze",
    "37121 Verona",
)
