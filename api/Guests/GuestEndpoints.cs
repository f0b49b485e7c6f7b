using Api.Http;
using Api.Replicas;
using Contracts;

namespace Api.Guests;

public static class GuestEndpoints
{
    public static void MapGuests(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/v1/sandboxes/{id:guid}").WithTags("Guests").WithMetadata(new InGuest());
        group.MapPost("/exec", ExecEndpoint.Run).Requires(Role.Operator).WithMetadata(new NotReplayed()).WithSummary("Run a command in the guest, and answer what it puts out.")
            .WithDescription($"Answers when the command has ended, with the first MiB of its output. With Accept: {ExecEndpoint.Lines} it answers line by line while the command runs, each line a JSON object: the first with execId, then stream and data, the last with end. A caller that goes away ends the command.")
            .Produces<ExecAnswer>(200, "application/json").Produces<ExecLine>(200, ExecEndpoint.Lines).ProducesProblem(400).ProducesProblem(404).ProducesProblem(409).ProducesProblem(422);
        group.MapPost("/exec/{execId:guid}/signal", ExecEndpoint.Signal).Requires(Role.Operator).WithMetadata(new NotReplayed()).WithSummary("Send a running command, and what it started in its process group, a signal.")
            .Produces(204).ProducesProblem(400).ProducesProblem(404).ProducesProblem(422);
        group.MapPut("/files", FileEndpoints.Put).Requires(Role.Operator).WithSummary("Write a file into the guest: the body is its content, whatever its type.")
            .WithDescription("path: absolute, in a directory that exists; mode: permission bits in octal, default 644. The file appears complete or not at all. A symbolic link of that name is replaced, not followed; a directory, a device, a pipe or a socket is refused.")
            .Accepts<Stream>(isOptional: true, "*/*").Produces<GuestFileView>().ProducesProblem(404).ProducesProblem(409).ProducesProblem(413).ProducesProblem(422);
        group.MapGet("/files", FileEndpoints.Get).Requires(Role.Operator).WithSummary("Read a regular file of the guest, whatever size it claims.")
            .WithDescription("path: absolute. Repr-Digest (RFC 9530) tells the SHA-256 of what follows, Sandbox-File-Mode its permission bits in octal. An answer that ends before its Content-Length was cut off: the file changed, or the guest ended. A file of up to a MiB is read once, so it does not change while it is read.")
            .Produces<Stream>(200, "application/octet-stream").ProducesProblem(404).ProducesProblem(409).ProducesProblem(413).ProducesProblem(422);
        // OpenAPI has no words for a WebSocket; docs/api.md has.
        group.MapGet("/ssh", SshTunnel.Open).Requires(Role.Operator).ExcludeFromDescription();
    }
}
