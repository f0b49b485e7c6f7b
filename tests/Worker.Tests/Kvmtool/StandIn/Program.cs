// A stand-in for kvmtool's lkvm, for tests only. It keeps what the worker meets: commands and options (an unknown one fails as there),
// $HOME/.lkvm/NAME.sock (cut off at 107 bytes as there) with its protocol, one connection at a time; a console on standard input and output that takes keys only where both
// are terminals, with Ctrl-A as escape; its own words on standard error; its exit statuses. Its "guest" answers lines typed at it (Guest.cs).
// Written after kvm-cmd.c, builtin-run.c, kvm-ipc.c, term.c and util/parse-options.c; no text of theirs but what is matched on.
using StandIn;

return args switch
{
    ["version" or "--version"] => Say("kvm tool 3.18.0-stand-in"),
    ["run", "-h" or "--help"] => Options.Usage(),
    ["run", .. var rest] => Machine.Run(rest),
    ["list"] => Instances.List(),
    ["stop", "-n", var name] => Instances.Stop(name),
    _ => Options.Usage(),
};

static int Say(string line)
{
    Console.WriteLine(line);
    return 0;
}
