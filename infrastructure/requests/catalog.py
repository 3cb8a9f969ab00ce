"""All requests by the names of their commands."""

from collections.abc import Mapping
from typing import Any, Final

from refold.infrastructure.requests import files, pushes, sessions, votes

REQUESTS: Final[Mapping[str, type[Any]]] = {
    "file.register": files.RegisterFile,
    "file.change": files.ChangeFile,
    "file.replace": files.ReplaceFile,
    "file.ban": files.BanFile,
    "file.unban": files.UnbanFile,
    "file.add_tag": files.AddTag,
    "file.reset_tag": files.ResetTag,
    "file.remove_tag": files.RemoveTag,
    "file.apply_gossip": files.ApplyGossip,
    "tag_vote.cast": votes.CastTagVote,
    "tag_vote.withdraw": votes.WithdrawTagVote,
    "removal_vote.cast": votes.CastRemovalVote,
    "removal_vote.withdraw": votes.WithdrawRemovalVote,
    "session.set": sessions.SetSession,
    "session.touch": sessions.TouchSession,
    "session.end": sessions.EndSession,
    "session.expire": sessions.ExpireSession,
    "push.record": pushes.RecordPush,
    "push.authorise": pushes.AuthorisePush,
    "push.reject": pushes.RejectPush,
    "push.cancel": pushes.CancelPush,
    "push.rekey": pushes.RekeyPush,
    "push.delete": pushes.DeletePush,
}
