//! What a kickstart file says, and how it is refused.

use super::*;

const PACKAGES: &str = "%packages --nocore\nbash\n%end\n";

#[test]
fn packages_repositories_scripts() {
    let text = "# base\nrepo --name=main --baseurl=file:///r/$basearch --cost 5 --excludepkgs=a,b --noverifyssl\n\
                url --mirrorlist='http://m/x y' --proxy=http://p\n\n\
                %packages --excludedocs --inst-langs=en_US,de --exclude-weakdeps --ignoremissing --multilib --timeout=7 --retries 2\n\
                bash # shell\n@core\n@^minimal-environment\nkernel*\n@nodejs:18/minimal\n-dracut\n-*-firmware\n\n%end\n\
                %post --erroronfail --interpreter=/usr/bin/python3 --log=/root/x\n\
                print('hi')\n\n  # kept\n%end\n%post\ntrue\n%end\n";
    let kickstart = parse(text).expect("valid");
    let main = &kickstart.repositories[0];
    assert_eq!((main.name.as_str(), main.kind, main.url.as_str()), ("main", "baseurl", "file:///r/$basearch"));
    let options = [("cost", "5"), ("excludepkgs", "a,b"), ("sslverify", "0")];
    assert_eq!(main.options, options.map(|(name, value)| (name, value.to_owned())));
    let url = &kickstart.repositories[1];
    assert_eq!((url.name.as_str(), url.kind, url.url.as_str()), ("url", "mirrorlist", "http://m/x y"));
    assert_eq!(kickstart.packages, ["bash", "@core", "@^minimal-environment", "kernel*", "@nodejs:18/minimal"]);
    assert_eq!(kickstart.excluded, ["dracut", "*-firmware"]);
    let expected = PackageOptions {
        no_docs: true,
        no_weak_dependencies: true,
        ignore_missing: true,
        ignore_broken: false,
        multilib: true,
        languages: Some("en_US:de".to_owned()),
        retries: Some(2),
        timeout: Some(7),
    };
    assert_eq!(kickstart.options, expected);
    let script = &kickstart.post[0];
    assert_eq!((script.interpreter.as_str(), script.line), ("/usr/bin/python3", 15));
    assert_eq!((script.text.as_str(), script.error_on_fail), ("print('hi')\n\n  # kept\n", true));
    assert_eq!((kickstart.post[1].interpreter.as_str(), kickstart.post[1].error_on_fail), ("/bin/sh", false));
    assert_eq!(kickstart.notes.len(), 1, "{:?}", kickstart.notes);
}

#[test]
fn what_is_not_done_is_told_and_no_password_is() {
    let text = format!("lang en_US\ntimezone --utc Etc/UTC\nrootpw hunter2\npart / --size=1\ntext\n{PACKAGES}");
    let notes = parse(&text).expect("valid").notes;
    let told: Vec<_> = notes.iter().map(|note| (note.line, note.is_missed, note.text.as_str())).collect();
    assert_eq!(
        told,
        [
            (1, true, "lang is not done: do it in %post"),
            (2, true, "timezone is not done: do it in %post"),
            (3, true, "rootpw is not done: do it in %post"),
            (4, false, "part means nothing to an image"),
            (5, false, "text means nothing to an image"),
        ]
    );
    let notes = parse("%packages\nbash\n%end\n%addon x --y\nz\n%end\n").expect("valid").notes;
    assert!(notes[0].text.contains("core is not added") && notes[1].text.contains("%addon"));
}

/// The text, the line told, a part of what is told.
#[test]
fn refused() {
    for (text, line, part) in [
        ("", 1, "no %packages section"),
        ("lang en_US\n", 1, "no %packages section"),
        ("%packages\n%end\n", 1, "no %packages section"),
        ("%packages\nbash\n", 1, "%packages has no %end"),
        ("%packages\nbash\n%post\n%end\n", 3, "a section begins after %end"),
        ("%packages\n%include more.ks\n%end\n", 2, "nothing is read beside the file itself"),
        ("\n%include /tmp/x.ks\n", 2, "nothing is read beside the file itself"),
        ("%ksappend x\n", 1, "nothing is read"),
        ("\n%post --nochroot\n%end\n", 2, "%post --nochroot cannot be done: scripts run inside the image only"),
        ("%post --interpreter=python3\n%end\n", 1, "must be an absolute path"),
        ("%post --interpreter\n%end\n", 1, "--interpreter needs a value"),
        ("%post --nohup\n%end\n", 1, "%post has no option --nohup"),
        ("%pre\necho\n%end\n", 1, "it would run on the build host"),
        ("%pre-install\necho\n%end\n", 1, "it would run on the build host"),
        ("%pots\n%end\n", 1, "%pots is no kickstart section"),
        ("\nrepo --name='x\n", 2, "the quotes do not close"),
        ("repo --name=x\n", 1, "repo needs --baseurl"),
        ("repo --baseurl=http://x\n", 1, "repo needs --name"),
        ("url\n", 1, "url needs --url"),
        ("repo --name=x --baseurl=http://x --magic\n", 1, "repo has no option --magic"),
        ("repo --name=x --baseurl=http://x --install\n", 1, "no repo file is written"),
        ("repo --name=x --baseurl='a\tb'\n", 1, "control character"),
        ("repositroy --name=x\n", 1, "repositroy is no kickstart command"),
        ("nfs --server=x --dir=y\n", 1, "name them with repo or url"),
        ("liveimg --url=http://x\n", 1, "name them with repo or url"),
        ("module --name=nodejs\n", 1, "write @NAME:STREAM"),
        ("%packages --magic\nbash\n%end\n", 1, "%packages has no option --magic"),
        ("%packages --retries=many\nbash\n%end\n", 1, "not a whole number"),
        ("%packages --inst-langs='%{x}'\nbash\n%end\n", 1, "not a list of languages"),
        ("%packages\n-@core\n%end\n", 2, "a group is left out by not naming it"),
        ("%packages\n@core --optional\n%end\n", 2, "mandatory and default packages"),
        ("%packages\n--setopt=x\n%end\n", 2, "not the name of one package"),
        ("%packages\nbash zsh\n%end\n", 2, "not the name of one package"),
        ("%packages\n-a,b\n%end\n", 2, "not the name of one package"),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.line(), line, "{text:?}: {error}");
        assert!(error.to_string().contains(part), "{text:?}: {error}");
    }
}
