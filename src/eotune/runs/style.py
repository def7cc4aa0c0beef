"""How a page looks: one style sheet for screen, phone and paper, in light and dark, and the switch between them."""

_LIGHT = """--ink:#17202a;--soft:#5a6672;--faint:#8c96a0;--paper:#f7f7f3;--card:#ffffff;--line:#dcdfdc;--grid:#e8eae7;
--accent:#0f766e;--wash:#e3f1ee;--base:#a4aeb8;--mark:#b4541a;--good:#15803d;--warn:#b45309;--warnwash:#fdf3e1;
--shadow:0 1px 2px rgb(20 30 40/.05),0 4px 14px rgb(20 30 40/.05);color-scheme:light"""
_DARK = """--ink:#e7ebee;--soft:#a3aeb9;--faint:#75818d;--paper:#0f1417;--card:#171e23;--line:#2a343b;--grid:#232c33;
--accent:#4fb8ab;--wash:#15302e;--base:#66737f;--mark:#f0a060;--good:#4ade80;--warn:#f0b25a;--warnwash:#2b2315;
--shadow:none;color-scheme:dark"""

STYLE = (
    f":root{{{_LIGHT}}}"
    f"@media(prefers-color-scheme:dark){{:root:not([data-theme=light]){{{_DARK}}}}}"
    f":root[data-theme=dark]{{{_DARK}}}"
    """
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:64rem;margin:0 auto;padding:2.2rem 1.25rem 4rem}
header{position:relative;padding-right:3rem}
.eyebrow{margin:0;color:var(--accent);font-size:.78rem;font-weight:650;letter-spacing:.09em;text-transform:uppercase}
h1{font-size:clamp(1.6rem,1.1rem + 2vw,2.25rem);line-height:1.15;letter-spacing:-.02em;margin:.25rem 0 .5rem;
overflow-wrap:anywhere}
.lead{color:var(--soft);margin:0;max-width:46rem;font-size:1.05rem;overflow-wrap:anywhere}
#theme{position:absolute;right:0;top:0;width:2.4rem;height:2.4rem;border-radius:50%;border:1px solid var(--line);
background:var(--card);color:var(--soft);cursor:pointer;display:grid;place-items:center;padding:0}
#theme:hover,#theme:focus-visible{color:var(--accent);border-color:var(--accent)}
nav{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;margin:1.3rem 0 1.4rem;padding:.6rem 0;font-size:.88rem;
border-block:1px solid var(--line)}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
h2{font-size:1.3rem;letter-spacing:-.01em;margin:3rem 0 .3rem;scroll-margin-top:1rem}
h3{font-size:1rem;margin:1.6rem 0 .3rem}
p{margin:.4rem 0 .9rem;max-width:46rem}
.note{color:var(--soft);font-size:.93rem}
.warn{border-left:3px solid var(--warn);background:var(--warnwash);padding:.6rem .9rem;border-radius:0 .4rem .4rem 0;
max-width:none;font-size:.93rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.8rem;margin:1rem 0}
.card,.panel{background:var(--card);border:1px solid var(--line);border-radius:.7rem;box-shadow:var(--shadow)}
.card{padding:.85rem 1rem .9rem}
.card span{display:block;color:var(--soft);font-size:.8rem;font-weight:600}
.card b{display:block;font-size:1.65rem;line-height:1.25;letter-spacing:-.02em;font-weight:650;
font-variant-numeric:tabular-nums}
.card small{display:block;color:var(--soft);font-size:.82rem;line-height:1.4;font-variant-numeric:tabular-nums}
.card:first-child{background:var(--wash);border-color:color-mix(in srgb,var(--accent) 35%,var(--line))}
.card:first-child b{color:var(--accent)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(19rem,100%),1fr));gap:.8rem;margin:1rem 0}
.charts>:only-child{max-width:34rem}
.panel{margin:0;padding:.8rem .9rem .6rem;min-width:0}
.panel figcaption{font-weight:600;font-size:.9rem;margin-bottom:.2rem}
.panel svg{display:block;width:100%;height:auto;overflow:visible}
svg text{fill:var(--soft);font-size:11px;font-family:inherit;font-variant-numeric:tabular-nums}
svg .strong{fill:var(--ink);font-weight:600}
svg .grid{stroke:var(--grid)}svg .axis{stroke:var(--line)}
svg .base{fill:var(--base)}svg .main{fill:var(--accent)}
svg .whisker{stroke:var(--ink);stroke-width:1.2;opacity:.75}
svg .curve{fill:none;stroke:var(--accent);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg .dashed{stroke:var(--base);stroke-width:1.4;stroke-dasharray:4 3}
svg .best{fill:var(--mark)}svg .dot{opacity:.75}svg text.best{font-weight:600}
svg .mark{fill:var(--mark)}svg .link{stroke:var(--base);stroke-width:1.2}
svg .ring{fill:none;stroke-width:1.3}svg .ring.main{stroke:var(--accent)}svg .ring.mark{stroke:var(--mark)}
svg .bed{fill:none;stroke:var(--line)}svg .count{font-size:9px;fill:var(--ink);text-anchor:middle}
svg .count.over{fill:var(--card)}
svg .tile{fill:none;stroke:var(--base)}svg .tile.found{fill:var(--accent);stroke:var(--card)}
.panel>img{display:block;width:100%;height:auto;border-radius:.45rem}
.wide{width:fit-content;max-width:100%;margin:1rem 0}.wide .scroll{margin:0}
.wide svg{width:auto;max-width:none}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;color:var(--soft);font-size:.85rem;margin:.6rem 0 0}
.legend i{display:inline-block;width:.8rem;height:.8rem;border-radius:.2rem;margin-right:.4rem;vertical-align:-.06rem}
.legend .base{background:var(--base)}.legend .main{background:var(--accent)}.legend .mark{background:var(--mark)}
.legend .ring{background:none;border:1.5px solid var(--accent);border-radius:50%}
.legend .ring.mark{border-color:var(--mark)}.legend .dot{border-radius:50%}
.scroll{overflow-x:auto;margin:.8rem 0 1.2rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.92rem}
th,td{padding:.45rem .7rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;
vertical-align:baseline}
th:first-child,td:first-child{text-align:left;padding-left:.5rem}
th:last-child,td:last-child{padding-right:.5rem}
thead th{color:var(--soft);font-weight:600;font-size:.82rem;vertical-align:bottom}
tbody th{font-weight:550}
td small{color:var(--soft);font-size:.82em;margin-left:.35rem}
tr.strong td,tr.strong th{font-weight:650;background:var(--wash)}
tr.strong td small{font-weight:400}
table.wrap td{white-space:normal;overflow-wrap:anywhere;text-align:left}
.query{margin:1.5rem 0;break-inside:avoid}
.query p{margin:0 0 .5rem}
.query q{font-weight:600}
.rank{color:var(--soft);font-size:.88rem;margin-left:.4rem;white-space:nowrap}
.strip{display:flex;gap:.55rem;overflow-x:auto;padding:2px 2px .4rem}
.sheet{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr));gap:1.1rem}
.sheet h4{margin:0 0 .4rem;font-size:.82rem;color:var(--soft)}
.sheet .strip{display:grid;grid-template-columns:repeat(3,1fr);overflow:visible}
.thumb{margin:0;flex:0 0 auto;width:7.4rem;min-width:0}
.sheet .thumb{width:auto}
.thumb img{display:block;width:100%;aspect-ratio:1;object-fit:cover;border-radius:.45rem;background:var(--line)}
.thumb.hit img{outline:3px solid var(--good);outline-offset:-1px}
.thumb.sought{padding-right:.55rem;border-right:1px solid var(--line);width:8rem}
.thumb figcaption{font-size:.76rem;color:var(--soft);line-height:1.3;margin-top:.3rem;overflow-wrap:anywhere;
display:-webkit-box;-webkit-line-clamp:2;-webkit-box-orient:vertical;overflow:hidden}
.thumb.hit figcaption{color:var(--good);font-weight:600}
pre{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.9rem 1rem;overflow-x:auto;
font:.84rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;margin:.6rem 0}
details{margin:.6rem 0}
summary{cursor:pointer;color:var(--accent);font-size:.93rem}
footer{margin-top:4rem;padding-top:.8rem;border-top:1px solid var(--line);color:var(--soft);font-size:.84rem}
@media(max-width:36rem){main{padding-top:1.4rem}
th,td{padding:.45rem .45rem}td small{display:block;margin:0}.card b{font-size:1.4rem}
.cards{grid-template-columns:1fr 1fr}.card:first-child,
.card:last-child:nth-child(even){grid-column:1/-1}}
@media print{:root,:root[data-theme=dark]{"""
    + _LIGHT
    + """;--paper:#fff}#theme,nav{display:none}
main{max-width:none;padding:0}.card,.panel{box-shadow:none;break-inside:avoid}h2,h3{break-after:avoid}
tr{break-inside:avoid}.scroll,.strip{overflow:visible}.strip{flex-wrap:wrap}pre{white-space:pre-wrap}}
"""
)

SWITCH = """
(function(){var root=document.documentElement,key="eotune-theme";
try{if(localStorage.getItem(key))root.dataset.theme=localStorage.getItem(key)}catch(e){}
document.getElementById("theme").onclick=function(){
var dark=root.dataset.theme?root.dataset.theme==="dark":matchMedia("(prefers-color-scheme: dark)").matches;
root.dataset.theme=dark?"light":"dark";
try{localStorage.setItem(key,root.dataset.theme)}catch(e){}}})()
""".strip()

SWITCH_ICON = (
    '<svg width="18" height="18" viewBox="0 0 18 18" aria-hidden="true"><circle cx="9" cy="9" r="7" fill="none" '
    'stroke="currentColor" stroke-width="1.6"/><path d="M9 2a7 7 0 0 1 0 14z" fill="currentColor"/></svg>'
)
