// What every page has. Pages read without it; it only adds.

import htmx from "htmx.org";

import "../styles/main.css";
import "./icon.svg";
import "./finance/match";
import "./finance/select";
import "./finance/upload";
import "./polling";
import "./refusals";
import "./tabs";

// The policy of the pages allows no inline style and no text that is run as code.
htmx.config.includeIndicatorStyles = false;
htmx.config.allowEval = false;
htmx.config.allowScriptTags = false;
htmx.config.selfRequestsOnly = true;
// Pages behind a sign-in do not outlive it in the browser's storage.
htmx.config.historyCacheSize = 0;
