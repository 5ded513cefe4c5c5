//! What it takes to run the commands of a workload that judge again: kept with a run's results, for tokens.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use checker::{View, Wanted};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use workload::{Invocation, Step, Workload};

/// The commands of a workload that judge crash states: its check, the commands of its views, and what runs before them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCheck {
    /// The workload's directory.
    directory: Option<PathBuf>,
    /// The command of the check, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    /// What runs before the check and the views, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recover: Option<Vec<String>>,
    /// The workload's environment variables, as written.
    env: BTreeMap<String, String>,
    /// Where the tree appears to them, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    at: Vec<PathBuf>,
    /// A hash of the programs and of the files that their arguments name: what judges.
    #[serde(default)]
    files: String,
    /// The views that run commands: they stand among the invariants.
    #[serde(skip)]
    views: Vec<View>,
}

/// The views among `wanted` that run a command.
fn with_commands(wanted: &[Wanted]) -> Vec<View> {
    let view = |wanted: &Wanted| match wanted {
        Wanted::View(view) if view.command.is_some() || view.normalise.is_some() => Some(view.clone()),
        _ => None,
    };
    wanted.iter().filter_map(view).collect()
}

impl KeptCheck {
    /// The commands of a workload that judge; `None` if it has none.
    pub fn of(workload: &Workload) -> Option<Self> {
        let Workload { directory, check, recover, env, at, invariants, .. } = workload;
        let views = with_commands(invariants);
        let any = check.is_some() || recover.is_some() || !views.is_empty();
        any.then(|| Self {
            directory: directory.clone(),
            command: check.clone(),
            recover: recover.clone(),
            env: env.clone(),
            at: at.clone(),
            files: files(workload),
            views,
        })
    }

    /// The same with the views that stand among the invariants of the run. `kept` is `None` if no command was kept: then
    /// there should be no such view, and one that is there is run no more readily than any.
    pub fn with_views(kept: Option<&Self>, wanted: &[Wanted]) -> Option<Self> {
        let views = with_commands(wanted);
        let kept = kept.cloned().or_else(|| (!views.is_empty()).then(Self::default))?;
        Some(Self { views, ..kept })
    }

    /// What they are, in one word.
    pub fn what(&self) -> &'static str {
        match (&self.command, self.views.is_empty()) {
            (Some(_), true) => "check",
            (None, false) => "views",
            _ => "check and views",
        }
    }

    /// The same, as one says that there is one.
    pub fn with_article(&self) -> &'static str {
        match self.what() {
            "check" => "a check",
            "views" => "views",
            _ => "a check and views",
        }
    }

    /// Whether a check is among them.
    pub fn has_check(&self) -> bool {
        self.command.is_some()
    }

    /// Whether these are the commands of that workload, as written.
    pub fn is_of(&self, workload: &Workload) -> bool {
        let of_workload = with_commands(&workload.invariants);
        let same = |view: &View| {
            of_workload.iter().any(|other| (&other.command, &other.normalise) == (&view.command, &view.normalise))
        };
        workload.check == self.command
            && workload.recover == self.recover
            && workload.env == self.env
            && workload.at == self.at
            && self.views.iter().all(same)
    }

    /// Whether the files that judge are those of that workload.
    pub fn has_files_of(&self, workload: &Workload) -> bool {
        self.files == files(&self.alone(workload.clone()))
    }

    /// Hashes of the files that judge: as they were, and as they are in that workload.
    pub fn files_in(&self, workload: &Workload) -> (String, String) {
        (self.files.clone(), files(&self.alone(workload.clone())))
    }

    /// What would be run, as one could type it into a shell, with the variables that it is given.
    pub fn shown(&self) -> String {
        let assignments = self.env.iter().map(|(name, value)| format!("{name}={value}"));
        let assignments: Vec<String> = assignments.map(|text| report::word(&text)).collect();
        let of_views = self.views.iter().flat_map(|view| [view.command.as_ref(), view.normalise.as_ref()]);
        let all = [self.recover.as_ref(), self.command.as_ref()].into_iter().chain(of_views).flatten();
        let line = |words: &Vec<String>| {
            let words = words.iter().map(|word| report::word(word));
            assignments.iter().cloned().chain(words).collect::<Vec<_>>().join(" ")
        };
        all.map(line).collect::<Vec<_>>().join("; ")
    }

    /// A workload of this name with these commands, and no more than they need.
    ///
    /// # Errors
    /// There can be no workload of that name.
    pub fn workload(&self, name: &str) -> Result<Workload, workload::Error> {
        let bare = Workload::bare(vec![name.into()], None)?;
        let Self { directory, command, recover, env, at, .. } = self.clone();
        Ok(self.alone(Workload { name: name.into(), directory, check: command, recover, env, at, ..bare }))
    }

    /// A workload that has these views and no other invariants.
    fn alone(&self, workload: Workload) -> Workload {
        Workload { invariants: self.views.iter().cloned().map(Wanted::View).collect(), ..workload }
    }
}

/// A hash of the programs of the commands, and of the files that their arguments name. What these load in turn is not
/// looked at.
fn files(workload: &Workload) -> String {
    let nowhere = Path::new("/nonexistent");
    let mut all: Vec<Invocation> = Vec::new();
    if workload.check.is_some() {
        let Ok(Some(check)) = workload.check_in(nowhere, nowhere) else { return "none".into() };
        all.push(check);
    }
    if workload.recover.is_some() {
        let Ok(Some(recover)) = workload.recover_in(nowhere) else { return "none".into() };
        all.push(recover);
    }
    for view in with_commands(&workload.invariants) {
        for (step, words) in [(Step::View, view.command), (Step::Normalise, view.normalise)] {
            let Some(words) = words else { continue };
            let Ok(invocation) = workload.view_in(step, &words, nowhere) else { return "none".into() };
            all.push(invocation);
        }
    }
    if all.is_empty() {
        return "none".into();
    }
    let mut hasher = Sha256::new();
    for invocation in all {
        let named = invocation.argv.iter().map(PathBuf::from).filter(|path| path.is_absolute());
        for path in std::iter::once(invocation.program).chain(named).filter(|path| path.is_file()) {
            let content = fs::read(path).unwrap_or_default();
            hasher.update((content.len() as u64).to_le_bytes());
            hasher.update(content);
        }
    }
    hex::encode(&hasher.finalize()[..8])
}
